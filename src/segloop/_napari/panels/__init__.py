"""The panels of the dock, one per step of the loop. They show and ask; they do nothing themselves."""
