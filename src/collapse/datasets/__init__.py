"""Data sets: what is real. One module each, with a frozen ``Config`` and two functions.

    prepare(config, name) -> arrays, facts               pure; the command line writes both
    load(config, arrays, facts, seeds, name) -> data     what a run uses: ``size``, ``provides``, ``real()``,
        ``fresh(n)``, ``contexts(count, rng)``, ``corrupt(items, rate, rng)``, ``validation``, ``test``

`textfiles`, `hub`, `splits` and `bpe` are what text data sets share: files, the hub, disjoint splits, tokens.
"""
