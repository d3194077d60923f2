"""Train four epochs at a batch of 16 on one thread, with steps at 1, 2 and 3."""

scale = "toy"
seconds = 35  # on two CPU cores; the first estimate of the time left in a study
threads = 1
epochs, warmup_epochs = 4, 0.5
batch = 16  # over all processes
micro_batch = 16  # number of images that BN computes its statistics over
lr_at_256 = 0.2  # twice the paper's 0.1, because there are only a few hundred updates
