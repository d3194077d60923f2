"""Train ResNet-50 on Places365-Standard, 224 px: Table 7 reports 56.34 / 86.87 for d_efficient, 56.70 / 87.33 for mixup.

torchrun --nproc_per_node 8 tools/train.py configs/classification/resnet50_places365_paper.py --launcher pytorch
The data is the archive of 256 px images in class folders (easy directory structure). The paper gives no recipe for Places365;
batch, learning rate, epochs and training from scratch are those of ImageNet, chosen here. Figures are on the validation set,
because the labels of the test set are not public. Cost: 1.4 times the iterations of ImageNet. Untested at this scale.
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_120e.py",
]

data_root = "places365_standard"
num_classes = 365
