"""120 epochs at a batch of 256, 32 images on each of eight GPUs, with steps at 30, 60 and 90 (section 2.1 of 1812.01187)."""

scale = "paper"
val_interval = 10
epochs, warmup_epochs = 120, 5
batch = 256  # over all processes
micro_batch = 32  # images over which BN takes its statistics
lr_at_256 = 0.1  # learning rate of a batch of 256; section 3.1 scales it with the batch
