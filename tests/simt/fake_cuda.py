"""The torch door on the pretend CUDA device of fake_cuda.cpp. Argument: its library.

A program of its own, not a test: it changes what torch believes about CUDA in this process.
"""

import sys

import torch

torch.ops.load_library(sys.argv[1])
ops, cuda = torch.ops.unmask, torch.ops.fake_cuda

SIDE_STREAM = 0x5EED0

conflict = torch.tensor([[[0b010], [0b101], [0b010]]], dtype=torch.int32)
priority = torch.tensor([[3.0, 2.0, 1.0]])
tokens = torch.tensor([[9, 1, 9, 9]])

# CUDA tensors take the CUDA key: the result is on their device, whichever is current.
cuda.set_stream(1, SIDE_STREAM)
there = cuda.to_cuda(conflict, 1), cuda.to_cuda(priority, 1)
selected = ops.independent_set(*there)
assert selected.device == torch.device("cuda:1"), selected.device
assert cuda.to_cpu(selected).tolist() == [[True, False, True]]

# The device was switched, and switched back; the kernel ran on the device's current stream.
assert cuda.current_at_launch() == 1, "no device guard"
assert cuda.current_device() == 0, "the device was not given back"
assert cuda.stream_of_last_launch() == SIDE_STREAM
ops.masked_positions(cuda.to_cuda(tokens, 0), 9)
assert cuda.stream_of_last_launch() == 0, "device 0 has its default stream"

# In place, and CPU tensors still take the CPU key.
text = cuda.to_cuda(tokens, 1)
positions = ops.masked_positions(text, 9)
assert cuda.to_cpu(positions).tolist() == [[0, 2, 3, -1]]
token = cuda.to_cuda(torch.tensor([[5, 6, 7, 8]]), 1)
count = ops.commit_(
    text, positions, token, cuda.to_cuda(torch.tensor([[True, True, False, True]]), 1)
)
assert cuda.to_cpu(text).tolist() == [[5, 1, 6, 9]]
assert cuda.to_cpu(count).tolist() == [2]
assert ops.masked_positions(tokens, 9).device.type == "cpu"

# A step of DAPD is five launches at most, and leaves its result on the device.
text = cuda.to_cuda(tokens, 1)
logits, scores = cuda.to_cuda(torch.eye(4)[None], 1), cuda.to_cuda(torch.rand(1, 4, 4), 1)
launches = cuda.launches()
_, remaining, _ = ops.dapd_step_(
    text, logits, scores, positions=positions, mask_id=9, normalize=True, temperature=0.1
)
assert cuda.launches() - launches == 5, cuda.launches() - launches
assert cuda.to_cpu(remaining).item() == (cuda.to_cpu(text) == 9).sum() < 3

# Arguments on two devices are refused before anything runs.
refusal = ""
try:
    ops.independent_set(there[0], cuda.to_cuda(priority, 0))
except ValueError as error:
    refusal = str(error)
assert "priority must be on cuda:1 like conflict, got cuda:0" in refusal, refusal
print("the pretend device was served")
