"""What measures the CUDA backend: `make gpu-check`. docs/gpu.md says how to read it."""
