"""Test --cfg-options: each row has a command line as a user types it, and its effect on the config that would run."""

import argparse
import re
import shlex

import pytest

from classification.tricks import flatten
from tools.engine.config.arguments import add_run_arguments, resolved_of

CLASSIFIER = "configs/classification/resnet50_toy.py"
TIMM = "configs/classification/timm_toy.py"
FPN = "configs/detection/faster_rcnn_fpn_toy.py --backbone scratch"
C4 = "configs/detection/faster_rcnn_c4_toy.py --backbone scratch"
C4_PAPER = "configs/detection/faster_rcnn_c4_paper.py --backbone scratch"
FCN = "configs/segmentation/fcn_toy.py --backbone scratch"

ACTING = [
    # values of a classifier, and what follows from them
    (CLASSIFIER, "batch=32", {"batch": 32, "optim_wrapper.optimizer.lr": 0.00625, "train_dataloader.batch_size": 32}),
    (CLASSIFIER, "micro_batch=8", {"model.micro_batch": 8, "optim_wrapper.accumulative_counts": 2}),
    (CLASSIFIER, "lr_at_256=0.1", {"optim_wrapper.optimizer.lr": 0.00625}),
    (CLASSIFIER, "epochs=8", {"train_cfg.max_epochs": 8, "param_scheduler.0.milestones": [2, 4, 6]}),
    (CLASSIFIER, "epochs=1", {"train_cfg.max_epochs": 1, "param_scheduler.0.milestones": []}),  # no step at the start
    (CLASSIFIER, "epochs=2", {"train_cfg.max_epochs": 2, "param_scheduler.0.milestones": [1, 1]}),
    (
        CLASSIFIER,
        "size=96",
        {"size": 96, "train_dataloader.dataset.pipeline.0.size": 96, "test_dataloader.dataset.pipeline.0.size": 110},
    ),
    (CLASSIFIER, "crop_scale=0.5,1.0", {"train_dataloader.dataset.pipeline.0.scale": (0.5, 1.0)}),
    (CLASSIFIER, "mean=1,2,3", {"model.data_preprocessor.mean": [1, 2, 3]}),
    (CLASSIFIER, "num_classes=4", {"model.num_classes": 4}),
    (CLASSIFIER, "data_root=/elsewhere", {"train_dataloader.dataset.root": "/elsewhere/train"}),
    (CLASSIFIER, "num_workers=0", {"train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False}),
    (CLASSIFIER, "val_interval=2", {"train_cfg.val_interval": 2, "val_evaluator.type": "classification.TopK"}),
    (CLASSIFIER, "threads=2", {"threads": 2}),
    (CLASSIFIER, "low_precision=bfloat16", {"precision": "bfloat16", "optim_wrapper.dtype": "bfloat16"}),
    (CLASSIFIER, "tf32=none", {"tf32": "none"}),
    (CLASSIFIER, "compile=True", {"compile": True}),
    (CLASSIFIER, "compile.mode=max-autotune", {"compile.mode": "max-autotune"}),
    (CLASSIFIER, "mean.0=100", {"model.data_preprocessor.mean": [100, 116.779, 103.939]}),
    (CLASSIFIER, "log_processor.window_size=5", {"log_processor.window_size": 5}),
    (CLASSIFIER, "model.init=msra_prelu", {"model.init": "msra_prelu"}),
    (CLASSIFIER, "model.backbone.depth=152", {"model.backbone.depth": 152, "network": "resnet152"}),
    (TIMM, "model.backbone.name=seresnet50", {"model.backbone.name": "seresnet50", "network": "seresnet50"}),
    # keys that follow from values
    (CLASSIFIER, "optim_wrapper.optimizer.lr=0.1", {"optim_wrapper.optimizer.lr": 0.1}),
    (CLASSIFIER, "optim_wrapper.optimizer.momentum=0.8", {"optim_wrapper.optimizer.momentum": 0.8}),
    (CLASSIFIER, "optim_wrapper.clip_grad.max_norm=1", {"optim_wrapper.clip_grad.max_norm": 1}),
    (CLASSIFIER, "param_scheduler.0.milestones=[2,3]", {"param_scheduler.0.milestones": [2, 3]}),
    (CLASSIFIER, "train_dataloader.dataset.pipeline.2.strength=0.2", {"train_dataloader.dataset.pipeline.2.strength": 0.2}),
    (CLASSIFIER, "default_hooks.logger.interval=5", {"default_hooks.logger.interval": 5}),
    (CLASSIFIER, "env_cfg.cudnn_benchmark=False", {"env_cfg.cudnn_benchmark": False}),
    # with tricks, which see the overridden values
    (f"{CLASSIFIER} --tricks large_batch", "batch=8", {"batch": 32, "optim_wrapper.optimizer.lr": 0.00625}),
    (f"{CLASSIFIER} --tricks large_batch", "optim_wrapper.optimizer.lr=0.1", {"batch": 64, "optim_wrapper.optimizer.lr": 0.1}),
    (f"{CLASSIFIER} --tricks cosine", "epochs=8", {"param_scheduler.0.end": 8}),
    (f"{CLASSIFIER} --tricks cosine", "param_scheduler.0.eta_min=0.001", {"param_scheduler.0.eta_min": 0.001}),
    (f"{CLASSIFIER} --tricks warmup", "warmup_epochs=2", {"param_scheduler.0.end": 2}),
    (f"{CLASSIFIER} --tricks mixup", "epochs=6", {"epochs": 10, "param_scheduler.0.milestones": [2, 5, 7]}),
    (f"{CLASSIFIER} --tricks label_smoothing", "num_classes=4", {"model.loss.label_smoothing": pytest.approx(0.4 / 3)}),
    # values of a protocol, whose name then lists them; the learning rate follows the batch
    (
        FPN,
        "protocol.batch=4",
        {
            "batch": 4,
            "optim_wrapper.optimizer.lr": 0.005,
            "protocol.lr": 0.005,
            "protocol.name": "faster_rcnn_fpn_toy, batch=4, lr=0.005 by the batch",
        },
    ),
    (
        FPN,
        "protocol.batch=4 protocol.lr=0.03",
        {"optim_wrapper.optimizer.lr": 0.03, "protocol.name": "faster_rcnn_fpn_toy, batch=4, lr=0.03"},
    ),
    (FPN, "protocol.lr=0.5", {"optim_wrapper.optimizer.lr": 0.5, "protocol.name": "faster_rcnn_fpn_toy, lr=0.5"}),
    (FPN, "protocol.length.epochs=20", {"train_cfg.max_epochs": 20, "param_scheduler.1.milestones": [14, 18]}),
    (FPN, "protocol.length.updates=100", {"train_cfg.max_iters": 100, "param_scheduler.1.milestones": [70, 90]}),
    (FPN, "protocol.steps=[0.5]", {"param_scheduler.1.milestones": [5]}),
    (FPN, "protocol.roi_sample.num=16", {"model.train_cfg.rcnn.sampler.num": 16}),
    (FPN, "protocol.norm=sync", {"sync_bn": "torch", "protocol.name": "faster_rcnn_fpn_toy, norm=sync"}),
    (FPN, "protocol.clip=None", {"optim_wrapper.clip_grad": None}),
    (FPN, "protocol.decay_norms=False", {"optim_wrapper.paramwise_cfg.norm_decay_mult": 0}),
    (FPN, "protocol.pad_divisor=64", {"model.data_preprocessor.pad_size_divisor": 64}),
    (FPN, "protocol.roi_aligned=False", {"model.roi_head.bbox_roi_extractor.roi_layer.aligned": False}),
    (FPN, "protocol.rpn_sample.best=0", {"model.train_cfg.rpn.assigner.min_pos_iou": 0}),
    (FCN, "protocol.padding=mean", {"train_dataloader.dataset.pipeline.4.type": "RandomCrop"}),
    (FCN, "protocol.warmup=10", {"param_scheduler.0.type": "LinearLR", "param_scheduler.0.end": 11}),
    (C4_PAPER, "protocol.length.updates=100", {"train_cfg.max_iters": 100, "param_scheduler.1.milestones": [70]}),
    (f"{C4_PAPER} --protocol moco", "protocol.batch=8", {"optim_wrapper.optimizer.lr": 0.01}),
    (C4, "protocol.extra_norm=True", {"model.roi_head.shared_head.extra_norm": True}),
    (C4, "protocol.roi_size=14", {"model.roi_head.bbox_head.roi_feat_size": 7}),
    (
        FCN,
        "protocol.crop=96",
        {"model.data_preprocessor.size": (96, 96), "train_dataloader.dataset.pipeline.5.crop_size": (96, 96)},
    ),
    (FCN, "protocol.batch=4", {"optim_wrapper.optimizer.lr": 0.01, "train_dataloader.batch_size": 4}),
    (FCN, "protocol.inference=slide", {"model.test_cfg.mode": "slide", "model.test_cfg.crop_size": (64, 64)}),
    (FCN, "protocol.aux_weight=0.2", {"model.auxiliary_head.loss_decode.loss_weight": 0.2}),
    (FCN, "protocol.photometric=True", {"train_dataloader.dataset.pipeline.6.type": "PhotoMetricDistortion"}),
    (FCN, "protocol.metric_classes=all", {"test_evaluator.classes": "all"}),
    # other values of the dense tasks
    (
        FPN,
        "model.neck.out_channels=32",
        {"model.rpn_head.in_channels": 32, "protocol.name": "faster_rcnn_fpn_toy, model.neck.out_channels=32"},
    ),
    (FPN, "model.neck.out_channels=48", {"model.roi_head.bbox_head.fc_out_channels": 192}),
    (FPN, "scratch_backbone.depth=101", {"model.backbone.depth": 101, "protocol.name": "faster_rcnn_fpn_toy"}),
    (FPN, "classes=cat,dog", {"model.roi_head.bbox_head.num_classes": 2}),
    (FPN, "data_root=/nowhere", {"train_dataloader.dataset.data_root": "/nowhere"}),
    (
        FPN,
        "model.test_cfg.rcnn.score_thr=0.2",
        {"model.test_cfg.rcnn.score_thr": 0.2, "protocol.name": "faster_rcnn_fpn_toy, model.test_cfg.rcnn.score_thr=0.2"},
    ),
    (FPN, "train_dataloader.num_workers=0", {"train_dataloader.num_workers": 0, "protocol.name": "faster_rcnn_fpn_toy"}),
    (FCN, "test_evaluator.band=5", {"test_evaluator.band": 5}),
]

NOTHING = "changes nothing: the config has that already, nothing uses it here, or another option decides it; leave it out."
REFUSED = [
    # no effect
    (CLASSIFIER, "batch=16", NOTHING),
    (CLASSIFIER, "warmup_epochs=1", NOTHING),
    (CLASSIFIER, "seconds=50", NOTHING),
    (CLASSIFIER, "batch=8 micro_batch=8", f"--cfg-options micro_batch=8 {NOTHING}"),
    (FPN, "protocol.lr=0.01", NOTHING),
    (FPN, "protocol.extra_norm=True", "--cfg-options protocol.extra_norm=True changes nothing"),
    # contradicting: a key that follows from a value, a trick that would be undone
    (CLASSIFIER, "network=resnet152", "it follows from model.backbone; change that instead."),
    (CLASSIFIER, "train_cfg.max_epochs=2", "it follows from epochs; change that instead."),
    (CLASSIFIER, "epochs=8 train_cfg.max_epochs=4", "it follows from epochs; change that instead."),
    (CLASSIFIER, "train_dataloader.batch_size=8", "it follows from batch; change that instead."),
    (CLASSIFIER, "train_dataloader.drop_last=False", "it follows from batch, since an update takes a whole batch;"),
    (CLASSIFIER, "train_dataloader.sampler.type=DefaultSampler", "it follows from seed and batch, so that a run trains alike"),
    (CLASSIFIER, "optim_wrapper.accumulative_counts=2", "it follows from micro_batch; change that instead."),
    (CLASSIFIER, "model.num_classes=4", "it follows from num_classes; change that instead."),
    (CLASSIFIER, "train_dataloader.dataset.root=/x", "it follows from data_root; change that instead."),
    (FPN, "batch=4", "it follows from protocol.batch; change that instead."),
    (FPN, "epochs=8", "it follows from protocol.length.epochs; change that instead."),
    (FPN, "protocol.lr=0.5 optim_wrapper.optimizer.lr=0.1", "it follows from protocol.lr; change that instead."),
    (FPN, "model.roi_head.bbox_head.num_classes=3", "it follows from classes; change that instead."),
    (FCN, "model.test_cfg.mode=slide", "it follows from protocol.inference; change that instead."),
    (FCN, "model.decode_head.num_classes=11", "it follows from the dataset, which has 150 classes"),
    (f"{CLASSIFIER} --tricks mixup", "model.mixup.alpha=0.4", "the trick mixup sets that"),
    (f"{CLASSIFIER} --tricks label_smoothing", "model.loss.label_smoothing=0.05", "the trick label_smoothing sets that"),
    (f"{CLASSIFIER} --tricks resnet_d", "model.backbone.variant=b", "the trick resnet_d sets that"),
    # keys that another option sets, or that identify the config
    (CLASSIFIER, "seed=3", "--seed sets that; use it instead."),
    (CLASSIFIER, "work_dir=x", "--work-dir sets that; use it instead."),
    (CLASSIFIER, "task=detection", "choose another config."),
    (CLASSIFIER, "scale=paper", "choose another config."),
    (FPN, "protocol=he2019", "--protocol NAME chooses one"),
    (FPN, "protocol.name=x", "the name says what the values are"),
    (FPN, "model.backbone.frozen_stages=2", "it follows from protocol.frozen_stages; change that instead."),
    (FPN, "model.backbone.norm_eval=True", "it follows from protocol.norm; change that instead."),
    (FPN, "model.backbone.depth=101", "it follows from the card, or scratch_backbone; change that instead."),
    (FPN, "model.neck.num_outs=4", "it follows from the strides of the anchors; change that instead."),
    (FCN, "model.backbone.frozen_stages=2", "--backbone scratch trains all of the backbone; leave out what freezes it"),
    (FCN, "model.backbone.norm_eval=True", "--backbone scratch trains all of the backbone; leave out what freezes it"),
    (FCN, "model.auxiliary_head=None", "keep it, and give protocol.aux_weight=0 to train without it."),
    (f"{CLASSIFIER} --tricks warmup", "warmup_epochs=12", "The warmup takes warmup_epochs=12 of epochs=12; lower warmup_epochs"),
    (f"{CLASSIFIER} --tricks warmup cosine", "epochs=2 warmup_epochs=3", "The warmup takes warmup_epochs=3 of epochs=2"),
    (FPN, "protocol.source=me", NOTHING),
    (FPN, "protocol.frozen_stages=2", NOTHING),  # from scratch nothing is frozen
    (FPN, "protocol.norm=frozen", NOTHING),
    (FPN, "protocol.selection=last", NOTHING),
    (FPN, "protocol.rpn_sample.low=0.9", "rpn_sample.low=0.9 above high=0.7; an anchor would be both."),
    (FPN, "protocol.clip.clip_value=5", "protocol.clip.clip_value, which is unknown; allowed: max_norm, norm_type."),
    (FCN, "protocol.min_lr=1", "The protocol has min_lr=1 above lr=0.02; lower protocol.min_lr."),
    (CLASSIFIER, "batch=8 batch=32", "--cfg-options batch is given twice, as 8 and as 32; give it once."),
    (CLASSIFIER, "batch=8 --cfg-options batch=32", "--cfg-options batch is given twice, as 8 and as 32; give it once."),
    # not of the form KEY=VALUE
    *(
        (CLASSIFIER, text, f"{text!r} is not KEY=VALUE; give a key and a value")
        for text in ("batch", "batch=", "=8", "model..init=x")
    ),
    (CLASSIFIER, "mean=[1,2", "Imbalanced brackets exist in [1,2; close each bracket."),
    # wrong type or range
    (CLASSIFIER, "crop_scale=0.9,0.1", "crop_scale is (0.9, 0.1); give the smaller part of an image first."),
    (CLASSIFIER, "size=99999", "size=99999; give a whole number of at least 8 and of at most 4096."),
    (CLASSIFIER, "threads=0", "threads=0; give a whole number of at least 1 and of at most 1024 or None."),
    (CLASSIFIER, "threads=99999", "threads=99999; give a whole number of at least 1 and of at most 1024 or None."),
    (CLASSIFIER, "num_workers=99999", "num_workers=99999; give a whole number from 0 to 1024."),
    (CLASSIFIER, "test_batch=0", "test_batch=0; give a whole number of at least 1."),
    (CLASSIFIER, "test_batch=-1", "test_batch=-1; give a whole number of at least 1."),
    (CLASSIFIER, "micro_batch=0", "micro_batch=0; give a whole number of at least 1."),
    (CLASSIFIER, "val_interval=-1", "val_interval=-1; give a whole number of at least 0."),
    (CLASSIFIER, "num_classes=-1", "num_classes=-1; give a whole number of at least 1."),
    (CLASSIFIER, "lr_at_256=-1", "lr_at_256=-1; give a number above 0."),
    (CLASSIFIER, "warmup_epochs=-1", "warmup_epochs=-1; give a number above 0."),
    (CLASSIFIER, "optim_wrapper.optimizer.lr=0", "optim_wrapper.optimizer.lr=0; give a number above 0."),
    (CLASSIFIER, "optim_wrapper.optimizer.momentum=2", "optimizer.momentum=2; give a number from 0 to 1."),
    (CLASSIFIER, "optim_wrapper.optimizer.weight_decay=-1", "optimizer.weight_decay=-1; give a number of at least 0."),
    (CLASSIFIER, "optim_wrapper.clip_grad.max_norm=0", "clip_grad.max_norm=0; give a number above 0 or None."),
    (CLASSIFIER, "param_scheduler.0.milestones=[0]", "milestones.0=0; give a whole number of at least 1."),
    (CLASSIFIER, "param_scheduler.0.milestones=[1.5]", "milestones.0=1.5; give a whole number of at least 1."),
    (CLASSIFIER, "param_scheduler.0.gamma=0", "param_scheduler.0.gamma=0; give a number above 0."),
    (f"{CLASSIFIER} --tricks cosine", "param_scheduler.0.eta_min=-1", "eta_min=-1; give a number of at least 0."),
    (CLASSIFIER, "default_hooks.logger.interval=0", "default_hooks.logger.interval=0; give a whole number of at least 1."),
    (CLASSIFIER, "default_hooks.checkpoint.interval=-1", "checkpoint.interval=-1; give a whole number of at least 1."),
    (CLASSIFIER, "default_hooks.checkpoint.save_best=top1", "default_hooks.checkpoint.save_best='top1'; give None."),
    (CLASSIFIER, "default_hooks.checkpoint=None", "default_hooks.checkpoint=None; give a dict."),
    (CLASSIFIER, "default_hooks.param_scheduler=None", "default_hooks.param_scheduler=None; give a dict."),
    (CLASSIFIER, "model.loss.label_smoothing=2", "model.loss.label_smoothing=2; give a number from 0 to 1."),
    (CLASSIFIER, "default_scope=nowhere", "default_scope='nowhere'; give one of mmengine, mmdet, mmseg."),
    (CLASSIFIER, "log_level=LOUD", "log_level='LOUD'; give one of DEBUG, INFO, WARNING, ERROR, CRITICAL."),
    (CLASSIFIER, "env_cfg.mp_cfg.mp_start_method=x", "mp_start_method='x'; give one of fork, spawn, forkserver."),
    (CLASSIFIER, "env_cfg.dist_cfg.backend=x", "env_cfg.dist_cfg.backend='x'; give one of nccl, gloo, mpi."),
    (FPN, "protocol.warmup_start=0", "protocol.warmup_start=0; give a number above 0 and of at most 1."),
    (FPN, "protocol.warmup=-1", "protocol.warmup=-1; give a whole number of at least 0."),
    (FPN, "protocol.steps=[0]", "protocol.steps.0=0; give a number above 0 and of at most 1."),
    (FPN, "protocol.steps=[2]", "protocol.steps.0=2; give a number above 0 and of at most 1."),
    (FPN, "protocol.test=VOC2007", "protocol.test='VOC2007'; give a year and a list of VOCdevkit, such as VOC2007/trainval."),
    (FPN, "protocol.train=('../x/test',)", "give a year and a list of VOCdevkit, such as VOC2007/trainval."),
    (FPN, "protocol.pad_divisor=0", "protocol.pad_divisor=0; give a whole number of at least 1."),
    (FPN, "protocol.roi_sampling=-1", "protocol.roi_sampling=-1; give a whole number of at least 0."),
    (FPN, "protocol.detections=0", "protocol.detections=0; give a whole number of at least 1."),
    (FPN, "protocol.decay_norms=maybe", "protocol.decay_norms='maybe'; give True or False."),
    (FPN, "protocol.rpn_sample.best=2", "protocol.rpn_sample.best=2; give a number from 0 to 1."),
    (FPN, "classes=[]", "classes=[]; give a list of at least 1."),
    (FPN, "classes=cat,dog,cat", "classes names 'cat' twice; name each class once."),
    (FPN, "model.neck.out_channels=0", "model.neck.out_channels=0; give a whole number of at least 1."),
    (FPN, "model.rpn_head.loss_cls.loss_weight=-1", "loss_cls.loss_weight=-1; give a number of at least 0."),
    (FPN, "test_evaluator.iou=0", "test_evaluator.iou=0; give a number above 0 and of at most 1."),
    (FCN, "test_evaluator.band=0", "test_evaluator.band=0; give a whole number of at least 1."),
    (FCN, "protocol.padding=grey", "protocol.padding='grey'; give one of black, mean."),
    (CLASSIFIER, "batch=abc", "batch='abc'; give a whole number of at least 1."),
    (CLASSIFIER, "batch=1.5", "batch=1.5; give a whole number of at least 1."),
    (CLASSIFIER, "batch=0", "batch=0; give a whole number of at least 1."),
    (CLASSIFIER, "epochs=0", "epochs=0; give a whole number of at least 1."),
    (CLASSIFIER, "size=0", "size=0; give a whole number of at least 8 and of at most 4096."),
    (CLASSIFIER, "mean=1,2", "mean=[1, 2]; give a list of 3, each a number."),
    (CLASSIFIER, "std=-1,1,1", "std.0=-1; give a number above 0."),
    (CLASSIFIER, "model=None", "model=None; give a dict."),
    (CLASSIFIER, "num_workers=1.5", "num_workers=1.5; give a whole number from 0 to 1024."),
    (CLASSIFIER, "num_workers=-1", "num_workers=-1; give a whole number from 0 to 1024."),
    (CLASSIFIER, "train_dataloader.num_workers=1.5", "train_dataloader.num_workers=1.5; give a whole number from 0 to 1024."),
    (CLASSIFIER, "tf32=maybe", "tf32='maybe'; give one of convolutions, all, none or None."),
    (CLASSIFIER, "optim_wrapper.optimizer.lr=abc", "the config has 0.003125 there; give a number."),
    (CLASSIFIER, "optim_wrapper.optimizer.momentum=nan", "give a finite number."),
    (CLASSIFIER, "crop_scale=0.5,inf", "give a finite number."),
    (CLASSIFIER, "param_scheduler.0.milestones=abc", "give a list, such as [1,2]."),
    (CLASSIFIER, "param_scheduler.0.milestones=[a,b]", "give a list in which each is a number."),
    (CLASSIFIER, "model.backbone.depth=51", "depth is 51; allowed: 18, 26, 34, 50, 101, 152."),
    (CLASSIFIER, "model.backbone.variant=e", "variant is 'e'; allowed: a, b, c, d."),
    (CLASSIFIER, "model.backbone.base_channels=15", "give an even number of at least 2."),
    (CLASSIFIER, "low_precision=float16", "needs CUDA, and there is none here"),
    (FPN, "protocol.lr=abc", "protocol.lr='abc'; give a number above 0."),
    (FPN, "protocol.flip=2", "protocol.flip=2; give a number from 0 to 1."),
    (FPN, "protocol.metric=area", "protocol.metric='area'; give 11-point."),
    (FPN, "protocol.selection=best", "protocol.selection='best'; give last."),
    (FPN, "protocol.length.epochs=0", "protocol.length.epochs=0; give a whole number of at least 1."),
    (FCN, "protocol.norm=batch", "protocol.norm='batch'; give one of sync, local."),
    (FCN, "protocol.crop=0", "protocol.crop=0; give a whole number of at least 1."),
    (FCN, "optim_wrapper.type=AmpOptimWrapper", "needs a GPU"),
    # wrong name
    (CLASSIFIER, "bach=32", "there is no bach; nearest: batch"),
    (CLASSIFIER, "model.mixup.alpha=0.4", "model.mixup is None here, which has no parts; the trick mixup sets it"),
    (CLASSIFIER, "mean.0.a=1", "give a number"),
    (CLASSIFIER, "mean.5=1", "there is no item 5 in a list of 3; give 0 to 2."),
    (CLASSIFIER, "batch.x=1", "batch is 16, which has no parts."),
    (CLASSIFIER, "train_pipeline.0.size=3", "there is no train_pipeline; nearest: train_dataloader"),
    (CLASSIFIER, "param_scheduler.1.gamma=2", "param_scheduler is a list of 1; give 0 to 0."),
    (CLASSIFIER, "optim_wrapper.optimiser.lr=1", "optim_wrapper.optimiser, which is unknown; nearest: optimizer;"),
    (CLASSIFIER, "optim_wrapper.optimizer.lrr=1", "optim_wrapper.optimizer.lrr, which is unknown; nearest: lr; SGD takes:"),
    (CLASSIFIER, "optim_wrapper.paramwise_cfg.norm_decay_mul=0", "which is unknown; nearest: norm_decay_mult"),
    (CLASSIFIER, "default_hooks.loger.interval=5", "default_hooks.loger, which is unknown; nearest: logger;"),
    (CLASSIFIER, "env_cfg.cudnn=False", "env_cfg.cudnn, which is unknown; nearest: cudnn_benchmark;"),
    (CLASSIFIER, "model.backbone.depht=50", "model.backbone.depht, which is unknown; nearest: depth; ResNet takes:"),
    (CLASSIFIER, "model.backbone.type=backbones.ResNett", "and nothing has that name; give the full path of a class"),
    (CLASSIFIER, "compile.mod=x", "compile.mod, which is unknown"),
    (f"{CLASSIFIER} --tricks cosine", "param_scheduler.0.milestones=[1]", "which is unknown; CosineAnnealingLR takes:"),
    (FPN, "scratch_backbone.name=resnet18d", "takes name and width, and no base_channels, depth, variant; leave these out."),
    (FPN, "protocol.lrr=1", "protocol.lrr, which is unknown; nearest: lr."),
    (FPN, "protocol.roi_sample.nun=1", "protocol.roi_sample.nun, which is unknown; nearest: num;"),
    (FPN, "protocol.length.epoch=2", "which is unknown; nearest: epochs"),
    (FPN, "model.train_cfg.rcnn.samplr.num=3", "model.train_cfg.rcnn.samplr, which is unknown; nearest: sampler;"),
]


def typed(line: str):
    """Return the resolved config of a command line of tools/train.py."""
    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    return resolved_of(parser.parse_args(shlex.split(line)))


@pytest.mark.parametrize(("command", "override", "follows"), ACTING, ids=lambda value: value if isinstance(value, str) else "")
def test_an_override_acts_with_all_that_follows(command, override, follows):
    resolved = flatten(typed(f"{command} --cfg-options {override}").cfg)
    assert {key: resolved.get(key) for key in follows} == follows


@pytest.mark.parametrize(("command", "override", "sentence"), REFUSED, ids=lambda value: value if len(value) < 70 else "")
def test_an_override_that_cannot_act_is_refused_in_one_sentence(command, override, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        typed(f"{command} --cfg-options {override}")
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize("command", ["", *dict.fromkeys(command for command, *_ in ACTING)][1:])
def test_options_may_repeat_their_defaults(command):
    default, repeated = typed(command), typed(f"{command} --seed 0 --on-bad-image stop --launcher none")
    assert flatten(default.cfg) == flatten(repeated.cfg) and default.hashable == repeated.hashable
