"""One module per command, each imported when it is chosen.

Charter: read arguments, call one function of the rooms below, show its result. Results go to standard output
(``--json`` gives a versioned document), everything else to standard error; the exit code comes from the
error's class. No rule of the product lives here.
"""
