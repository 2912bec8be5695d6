"""What is fitted: a file per family, each with ``Config``, ``fit``, ``sample``, ``evaluate``, ``save``, ``load``."""
