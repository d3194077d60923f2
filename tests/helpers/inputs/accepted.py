"""List right inputs, with a part of the output that shows their effect."""

from collections.abc import Iterator

from backbones.common.project import ROOT
from tests.helpers.inputs.calls import STARTED
from tests.helpers.inputs.cards import real
from tests.helpers.inputs.files import writes
from tests.helpers.inputs.overrides import CONFIGS
from tests.helpers.inputs.rows import Row

C, D, S = CONFIGS.values()
SCRATCH = ("--backbone", "scratch")
SMALL = ("batch=4", "num_workers=0", "model.backbone.base_channels=8")
OVERRIDES = (  # config and options, overrides, and parts of the resolved config
    ((C,), ("batch=32",), ("batch = 32", "lr=0.00625")),
    ((C,), ("batch=7",), ("batch = 7", "batch_size=7")),
    ((C,), ("size=96",), ("size = 96",)),
    ((C,), ("epochs=8",), ("epochs = 8", "max_epochs=8")),
    ((C,), ("num_workers=0",), ("num_workers=0", "persistent_workers=False")),
    ((C,), ("mean=[1,2,3]",), ("mean=[\n            1,\n            2,\n            3,",)),
    ((C,), ("model.backbone.depth=101",), ("depth=101", "network = 'resnet101'")),
    ((C,), ("model.backbone.depth=18", "model.backbone.variant=b"), ("depth=18", "network = 'resnet18'")),
    ((C,), ("model.backbone.base_channels=8",), ("base_channels=8",)),
    ((C,), ("optim_wrapper.optimizer.momentum=0.8",), ("momentum=0.8",)),
    ((C,), ("optim_wrapper.optimizer.momentum=0",), ("momentum=0",)),
    ((C,), ("optim_wrapper.optimizer.nesterov=false",), ("nesterov=False",)),
    ((C,), ("optim_wrapper.optimizer.weight_decay=1e-3",), ("weight_decay=0.001",)),
    ((C,), ("optim_wrapper.clip_grad.max_norm=10",), ("max_norm=10",)),
    ((C,), ("train_dataloader.prefetch_factor=4",), ("prefetch_factor=4",)),
    ((C,), ("val_interval=1",), ("val_interval = 1", "val_dataloader")),
    ((C,), ("find_unused_parameters=True",), ("find_unused_parameters = True",)),
    ((C,), ("compile=True",), ("compile = True",)),
    ((C,), ("compile.mode=max-autotune",), ("mode='max-autotune'",)),
    ((C,), ("tf32=none",), ("tf32 = 'none'",)),
    ((C,), ("threads=2",), ("threads = 2",)),
    ((C,), ("log_level=ERROR",), ("log_level = 'ERROR'",)),
    ((C,), ("crop_scale=[0.5,1]",), ("crop_scale",)),
    ((C,), ("low_precision=float32",), ("precision = 'float32'",)),
    ((C, "--tricks", "cosine"), (), ("CosineAnnealingLR",)),
    ((C, "--tricks", "warmup", "cosine"), (), ("WarmupLR", "CosineAnnealingLR")),
    ((C, "--tricks", "resnet_d"), (), ("variant='d'",)),
    ((C, "--tricks", "label_smoothing:eps=0.2"), (), ("label_smoothing=0.2",)),
    ((C, "--tricks", "mixup:schedule=same,alpha=0.4"), (), ("alpha=0.4",)),
    ((C, "--tricks", "no_bias_decay"), (), ("decay",)),
    ((C, "--tricks", "zero_gamma"), (), ("zero_gamma=True",)),
    ((C, "--tricks", "low_precision:dtype=bfloat16"), (), ("dtype='bfloat16'",)),
    ((C, "--seed", "0"), (), ("seed=0",)),
    ((C, "--seed", "4294967295"), (), ("seed=4294967295",)),
    ((C, "--on-bad-image", "skip"), (), ("on_bad_image = 'skip'",)),
    ((C, "--on-bad-image", "stop"), (), ("train_dataloader",)),
    ((D, *SCRATCH), (), ("frozen_stages=-1",)),
    ((D, *SCRATCH), ("protocol.batch=4",), ("batch_size=4", "lr=0.0")),
    ((D, *SCRATCH), ("protocol.lr=0.5",), ("lr=0.5",)),
    ((D, *SCRATCH), ("protocol.length.updates=100",), ("max_iters=100",)),
    ((D, *SCRATCH), ("protocol.length.epochs=2",), ("max_epochs=2",)),
    ((D, *SCRATCH), ("protocol.roi_sample.num=16",), ("num=16",)),
    ((D, *SCRATCH), ("protocol.anchor_scales=[4,8]",), ("scales=[",)),
    ((D, *SCRATCH), ("scratch_backbone.base_channels=8",), ("base_channels=8",)),
    ((D, *SCRATCH), ("model.neck.out_channels=32",), ("out_channels=32",)),
    ((D, *SCRATCH, "--lr-factor", "2"), (), ("lr=0.02",)),
    ((D, *SCRATCH, "--lr-factor", "1"), (), ("lr=0.01",)),
    ((D, *SCRATCH, "--hold-out"), (), ("held_out",)),
    ((D, *SCRATCH, "--transfer", "finetune"), (), ("transfer = 'finetune'",)),
    (("configs/detection/faster_rcnn_c4_paper.py", *SCRATCH, "--protocol", "moco"), (), ("name='moco'",)),
    (("configs/segmentation/fcn_paper.py", *SCRATCH, "--protocol", "mmseg"), (), ("name='mmseg'",)),
    ((S, *SCRATCH), ("protocol.crop=96",), ("96",)),
    ((S, *SCRATCH), ("protocol.dropout=0",), ("dropout_ratio=0",)),
    ((S, *SCRATCH), ("protocol.inference=slide",), ("mode='slide'",)),
    ((S, *SCRATCH), ("protocol.metric_classes=all",), ("metric_classes='all'",)),
    ((S, *SCRATCH), ("protocol.momentum=0.5",), ("momentum=0.5",)),
)
WITH_CARD = (  # options, and parts of the resolved config
    ((D, "--backbone", "card"), ("123.675", "base_channels=8", "TransferHook")),
    ((D, "--backbone", "card/card.json"), ("123.675",)),
    ((D, "--backbone", "card", "--transfer", "frozen"), ("frozen_stages=4", "transfer = 'frozen'")),
    ((S, "--backbone", "card"), ("bgr_to_rgb=True",)),
    ((C, "--tricks", "distillation:teacher=card"), ("teacher = ",)),
)
COMMANDS = (  # tool, command line, and parts of the output
    ("study", ("status", "configs/studies/demo.py"), ("waiting", "detection scratch seed 0")),
    ("study", ("status", "configs/studies/demo.py", "--recipes", "smooth", "smooth"), ("classification smooth seed 0",)),
    ("study", ("status", "configs/studies/demo.py", "--seeds", "2x2", "--tasks", "detection"), ("seed 101",)),
    ("study", ("plan", "configs/studies/demo.py"), ("smooth",)),
    ("study", ("plan", "demo"), ("demo at scale toy", "smooth")),
    ("study", ("status", "demo.py"), ("demo at scale toy: 8 waiting", "8 to do: about")),
    ("study", ("why", "demo", "--version"), ("TrickTransfer",)),
    ("runs", ("list",), ("No runs yet in work_dirs/runs.",)),
    ("runs", ("rm", "--failed"), ("There is nothing to remove",)),
    ("runs", ("rm", "--unused", "--yes"), ("There is nothing to remove",)),
    ("runs", ("--help",), ("--unused", "asks before")),
    ("study", ("plan", "configs/studies/demo.py", "--detect", "2"), ("seeds",)),
    ("study", ("plan", "configs/studies/table8.py", "--scale", "paper"), ("D-efficient",)),
    ("study", ("status", "configs/studies/demo.py", "--jobs", "2"), ("waiting",)),
    ("prepare_data", ("check", "voc", "--help"), ("VOC2007",)),
    ("prepare_data", ("subset", "--help"), ("--for mini", "--every 10 --short-side 160")),
    ("prepare_data", ("subset", "voc", "--help"), ("--years", "lanczos")),
    ("train", ("--help",), ("--cfg-options",)),
    ("study", ("run", "--help"), ("--executor",)),
)


def rows() -> Iterator[Row]:
    for args, overrides, words in OVERRIDES:
        line = (*args, *(("--cfg-options", *overrides) if overrides else ()))
        yield Row("accepted", f"print_config {' '.join(line)}", "print_config", line, words, status=0)
    for args, words in WITH_CARD:
        yield Row("accepted", f"print_config {' '.join(args)}", "print_config", args, words, status=0, prepare=real())
    for tool, args, words in COMMANDS:
        yield Row("accepted", f"{tool} {' '.join(args)}", tool, args, words, status=0)
    train = ((C, "--cfg-options", *SMALL), (D, *SCRATCH, "--cfg-options", "protocol.batch=2", "num_workers=0"))
    for args in train:
        yield Row("accepted", f"train {' '.join(args)}", "train", args, (STARTED,), status=0)
    own = f'_base_ = ["{ROOT}/{C}"]\nbatch = 8\n_mine = 3\n'
    yield Row(
        "accepted",
        "a config of a person's own",
        "print_config",
        ("own.py",),
        ("batch = 8",),
        status=0,
        prepare=writes("own.py", own),
    )
