"""The Kill Switch Protocol: a pure core (``killswitch.core``) and what makes it real (``killswitch.live``)."""
