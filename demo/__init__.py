"""What `make demo` shows: chapters of people who use a running system, through its public API alone."""
