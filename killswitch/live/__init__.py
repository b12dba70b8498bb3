"""What makes the protocol real: clocks, disks, sockets and processes around the pure core. Nothing here decides anything."""
