"""Train twelve epochs at a batch of 16 on one thread, with steps at 3, 6 and 9."""

scale = "toy"
seconds = 55  # on two CPU cores; the first estimate of the time left in a study
threads = 1
epochs, warmup_epochs = 12, 1
batch = 16  # over all processes
micro_batch = 16  # number of images that BN computes its statistics over
lr_at_256 = 0.05  # half the paper's: smooth keeps more room below 100 %, and B-standard loses little (docs/LOG.md)
