"""A six-layer model with rotary positions and grouped queries, 200 prompt tokens and 128 answers.

``run.py`` trains it, listens to every layer, decodes with every rule, and writes one results file;
``report.py`` and ``plots.py`` say and draw what that file holds.
"""
