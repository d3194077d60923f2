"""ImageNet: 1000 folders of images, trained on crops of 224 px, tested on the middle of each image."""

data_root = "imagenet"
val_folder = "val"
num_workers = 8
test_batch = 250  # images in a forward pass of the test; no result depends on it
mean, std = [123.68, 116.779, 103.939], [58.393, 57.12, 57.375]  # of R, G, B, on the 0..255 scale
size = 224
crop_scale = (0.08, 1.0)  # part of an image's area that a training crop covers
num_classes = 1000
