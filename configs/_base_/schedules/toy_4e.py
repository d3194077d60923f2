"""Four epochs at a batch of 16 on one thread, with steps at 1, 2 and 3."""

scale = "toy"
seconds = 35  # on two CPU cores; a study's estimate of the time left starts from it
threads = 1
epochs, warmup_epochs = 4, 0.5
batch = 16  # over all processes
micro_batch = 16  # images over which BN takes its statistics
lr_at_256 = 0.2  # twice the paper's 0.1: there are only some hundred updates
