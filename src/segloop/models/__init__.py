"""Network families behind one protocol."""
