"""Define a classifier with every trick off: no zero-gamma, plain cross entropy, float32, SGD with momentum.

It follows section 2.1 of 1812.01187. The paper gives neither momentum nor weight decay; these are the defaults of its code.
"""

task = "classification"
default_scope = "mmengine"
model = dict(
    type="classification.ImageClassifier",
    loss=dict(type="torch.nn.CrossEntropyLoss", label_smoothing=0.0),
    init="xavier",  # as in the paper; its code uses msra_prelu
    mixup=None,
    distillation=None,
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", momentum=0.9, nesterov=True, weight_decay=1e-4))
test_evaluator = dict(type="classification.TopK")
