"""Answer the flags of OpenMMLab's tools that have another name here."""

import argparse

AMP = (
    "a pretraining uses 16 bits with --tricks low_precision, detection and segmentation with "
    "--cfg-options optim_wrapper.type=AmpOptimWrapper (on a GPU)"
)
AUTO_SCALE_LR = "the learning rate always follows the batch: change that with --cfg-options batch=N (downstream protocol.batch=N)"
LOAD_FROM = (
    "the weights of a backbone come from --backbone CARD (tools/import_backbone.py makes a card of a file), those of a whole "
    "network from --cfg-options load_from=FILE"
)
NO_VALIDATE = (
    "--cfg-options val_interval=0 turns evaluation during training off, where it is not off anyway; the test at the end, which "
    "makes the figures of the run, always runs"
)
RESUME = "the same command goes on with what was stopped and keeps what is finished, without an option"
SHOW = "python tools/show.py RUN draws the predictions of a finished run beside the ground truth into a file"

TRAIN = {"--amp": AMP, "--auto-scale-lr": AUTO_SCALE_LR, "--load-from": LOAD_FROM, "--no-validate": NO_VALIDATE}
PRINT = TRAIN | {"--resume": "tools/train.py goes on with a stopped run without an option, and a config does not change by it"}
STUDY = {
    "--amp": "the recipes with the trick low_precision pretrain in 16 bits",
    "--auto-scale-lr": "the learning rates always follow the batches of the configs",
    "--load-from": "a study starts from the cards of its own pretrainings or from published weights (`cards` in its file)",
    "--no-validate": NO_VALIDATE.replace("--cfg-options val_interval=0", "val_interval = 0 in a config"),
    "--resume": RESUME,
    "--cfg-options": "a study's file states the overrides of its networks; tools/train.py takes --cfg-options for one run",
}
TEST = {
    "--show": SHOW,
    "--show-dir": SHOW,
    "--work-dir": "--out DIR names the folder for the metrics and the per-image results",
    "--dump": "--out DIR writes the per-image results",
    "--tta": "--inference multi_scale tests a segmenter on several sizes of each image",
    "--cfg-options": "a test takes the config of its run as it is; tools/train.py takes --cfg-options",
}


class Counterpart(argparse.Action):
    """Refuse a flag of OpenMMLab's tools, and name what does the same here."""

    def __init__(self, option_strings, dest, counterpart: str):
        super().__init__(option_strings, argparse.SUPPRESS, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        self.counterpart = counterpart

    def __call__(self, parser, namespace, values, option_string=None):
        raise ValueError(f"{option_string} is OpenMMLab's and no option here: {self.counterpart}.")


def add_counterparts(parser: argparse.ArgumentParser, counterparts: dict[str, str]) -> None:
    """Answer flags of OpenMMLab on a command line, each with the sentence on its counterpart."""
    for flag, counterpart in counterparts.items():
        parser.add_argument(flag, action=Counterpart, counterpart=counterpart)
