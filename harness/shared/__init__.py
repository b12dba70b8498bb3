"""What both drivers share: facts and how they come of a machine's steps, what a timeline means, who judges signatures. No checker is among it."""
