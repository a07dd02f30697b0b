"""Work on finished adapters, and on the hosts that they go to."""
