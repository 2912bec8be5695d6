"""The verbs of the command line, one module each. They read and write files; what they call takes and gives arrays."""
