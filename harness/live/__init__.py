"""The live driver: real processes around the same core, joined through a real Toxiproxy, and every fault measured to have happened."""
