"""ResNet classifier with every trick off: variant A, no zero-gamma, plain cross entropy, step decay, float32.

Values of section 2.1 of arXiv 1812.01187; momentum and weight decay are defaults of its code (the paper gives none). What
depends on batch, epochs or image size is written in the config of each scale.
"""

task = "classification"
default_scope = "mmengine"
mean, std = [123.68, 116.779, 103.939], [58.393, 57.12, 57.375]
model = dict(
    type="classification.ImageClassifier",
    backbone=dict(type="backbones.ResNet", depth=50, variant="a", base_channels=64, zero_gamma=False),
    loss=dict(type="torch.nn.CrossEntropyLoss", label_smoothing=0.0),
    data_preprocessor=dict(type="classification.ImagePreprocessor", mean=mean, std=std),
    init="xavier",  # as the paper says; its code has msra_prelu
    mixup=None,
    distillation=None,
)
model_wrapper_cfg = dict(type="classification.ClassifierDDP", broadcast_buffers=False)  # of several processes only
custom_hooks = [
    dict(type="classification.UpdateHook"),
    dict(type="SyncBuffersHook"),  # the mean of all processes' BN statistics, before any evaluation
]
train_dataloader = dict(
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="classification.ImageFolder"),
)
test_dataloader = dict(
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="classification.ImageFolder"),
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", momentum=0.9, nesterov=True, weight_decay=1e-4))
train_cfg = dict(by_epoch=True)
test_cfg = dict()
test_evaluator = dict(type="classification.TopK")
resampler = "bilinear, antialiased (torchvision on PIL images), the same in training and validation"
