"""Use ImageNet, 1000 folders of images: train on crops of 224 px, test on the centre of each image."""

data_root = "imagenet"
val_folder = "val"
num_workers = 8
test_batch = 250  # images per forward pass of the test; it affects no result
mean, std = [123.68, 116.779, 103.939], [58.393, 57.12, 57.375]  # of R, G, B, on the 0..255 scale
size = 224
crop_scale = (0.08, 1.0)  # range of the part of an image's area that a training crop covers
num_classes = 1000
