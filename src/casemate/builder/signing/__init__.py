"""SIGSTRUCT: who may sign what, what is handed to a key that is elsewhere, and what comes back."""
