"""Pure state machines of the Kill Switch Protocol, sans I/O: no clock, no random, no disk, no network in here."""
