"""Use Pascal VOC with its 20 classes, and train on difficult boxes and on boxes of every size.

mmdet's own voc0712.py drops training boxes under 32 px and difficult ones, and repeats the data three times.
"""

data_root = "VOCdevkit"
num_workers = 4
classes = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
