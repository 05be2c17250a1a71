"""The parts of :func:`unmask.generate`: layout and blocks, the end, and who may follow."""
