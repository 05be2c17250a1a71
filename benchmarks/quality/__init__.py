"""How well parallel decoding works, on models whose dependencies are known: ``make quality``.

``run.py`` trains what is missing, decodes cell by cell, and writes benchmarks/results/quality;
``report.py`` and ``plots.py`` make docs/quality.md and its pictures of nothing but those files.
"""
