"""The tests: `unit` mirrors the package, `programs` runs the programs, `parity` compares with PyTorch live."""
