"""Run a test on the CPU and, if the machine has one, on the GPU."""

import pytest
import torch

ON_GPU = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and this machine has none"))
ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="runs use the GPU of this machine")

# of a test that places its tensors itself, and of a test of a whole run, which takes the GPU if there is one
each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
each_run_device = pytest.mark.parametrize("device", [pytest.param("cpu", marks=ON_CPU), pytest.param("cuda", marks=ON_GPU)])
