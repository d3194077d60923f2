"""Train 120 epochs at a batch of 256, 32 images on each of eight GPUs, with steps at 30, 60 and 90 (1812.01187, section 2.1)."""

scale = "paper"
val_interval = 10
epochs, warmup_epochs = 120, 5
batch = 256  # over all processes
micro_batch = 32  # number of images that BN computes its statistics over
lr_at_256 = 0.1  # learning rate for a batch of 256; scaled with the batch (section 3.1)
