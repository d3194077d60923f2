"""Test reading of class folders, the paper's colour jitter and PCA noise, and normalisation on the device."""

import colorsys
import io

import numpy as np
import pytest
import torch
import torchvision
from mmengine.registry import TRANSFORMS
from PIL import Image
from torchvision.transforms import v2

from classification import ColorJitter, ImageFolder, ImagePreprocessor, PCANoise
from classification.data import EIGENVALUES, EIGENVECTORS, Crop, Flip, Planes
from classification.folders import read_folder
from classification.task import check_data, data_folders
from tests.helpers.networks import MEAN, STD
from tools.engine.config import Options, resolve

TO_TENSOR = [dict(type="torchvision.transforms.v2.PILToTensor")]


@pytest.fixture
def folder(tmp_path):
    """Write class folders a, b and c with one lossless image each: grey, CMYK and RGB, 6 x 4 px."""
    rng = np.random.default_rng(0)
    for name, mode in (("a", "L"), ("b", "CMYK"), ("c", "RGB")):
        shape = (4, 6, len(mode)) if mode != "L" else (4, 6)
        (tmp_path / name).mkdir()
        Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8), mode).save(tmp_path / name / "x.tif")
    return tmp_path


def test_every_mode_is_read_as_uint8_rgb(folder):
    data = ImageFolder(str(folder), TO_TENSOR)
    assert (len(data), data.classes) == (3, ["a", "b", "c"])
    grey, cmyk, rgb = (data[i] for i in range(3))
    for i, item in enumerate((grey, cmyk, rgb)):
        assert item["labels"] == i
        assert (item["inputs"].dtype, tuple(item["inputs"].shape)) == (torch.uint8, (3, 4, 6))
    raw = {name: np.array(Image.open(folder / name / "x.tif")).astype(int) for name in "abc"}
    assert (grey["inputs"].numpy() == raw["a"][None]).all()
    assert (rgb["inputs"].numpy() == raw["c"].transpose(2, 0, 1)).all()
    expected = (255 - raw["b"][..., :3]) * (255 - raw["b"][..., 3:]) / 255
    np.testing.assert_allclose(cmyk["inputs"].numpy().transpose(1, 2, 0), expected, atol=1.5)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1"])
def test_palettes_and_alpha_become_rgb(tmp_path, mode):
    (tmp_path / "a").mkdir()
    image = Image.fromarray(np.random.default_rng(1).integers(256, size=(5, 5, 3), dtype=np.uint8)).convert(mode)
    image.save(tmp_path / "a" / "x.png")
    pixels = ImageFolder(str(tmp_path), TO_TENSOR)[0]["inputs"]
    assert (pixels.numpy() == np.array(image.convert("RGB")).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_toy_pipelines_give_square_uint8_images(toy_root, monkeypatch, split):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    cfg = resolve("configs/classification/resnet50_toy.py").cfg
    check_data(cfg)
    assert [str(p) for p in data_folders(cfg)] == [str(toy_root / "imagenet" / part) for part in ("train", "val")]
    dataset = cfg[f"{split}_dataloader"].dataset
    data = ImageFolder(dataset.root, dataset.pipeline)
    assert len(data) == 8 * {"train": 2, "test": 1}[split]
    for i in range(0, len(data), 5):
        item = data[i]
        assert (item["inputs"].dtype, tuple(item["inputs"].shape)) == (torch.uint8, (3, 48, 48))
        assert item["inputs"].float().std() > 5


# ---- errors


def test_the_error_of_a_missing_folder_lists_its_parent(tmp_path):
    (tmp_path / "imagenet-mini").mkdir()
    with pytest.raises(
        ValueError,
        match="train does not exist; it should hold one folder of images per class.*holds imagenet-mini",
    ) as error:
        ImageFolder(str(tmp_path / "imagenet" / "train"), TO_TENSOR)
    assert "DATA_ROOT" in str(error.value)


def test_the_error_of_a_folder_without_classes_lists_its_content(tmp_path):
    with pytest.raises(ValueError, match="holds no folder .found: nothing."):
        read_folder(tmp_path)
    (tmp_path / "one.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no folder .found: one.jpg."):
        ImageFolder(str(tmp_path), TO_TENSOR)


def test_a_class_without_images_is_named(folder):
    (folder / "d").mkdir()
    (folder / "d" / "notes.txt").write_text("none yet")
    with pytest.raises(ValueError, match="The class folder .*/d holds no image"):
        ImageFolder(str(folder), TO_TENSOR)


def damaged(kind: str) -> bytes:
    image = Image.fromarray(np.random.default_rng(2).integers(256, size=(40, 40, 3), dtype=np.uint8))
    file = io.BytesIO()
    image.save(file, "PNG" if kind.startswith("png") else "JPEG")
    whole = file.getvalue()
    if kind == "png with a wrong byte":
        return whole[:200] + bytes([whole[200] ^ 255]) + whole[201:]
    return {"empty": b"", "text": b"<html>404</html>", "jpg cut": whole[:600], "png cut": whole[:900]}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "jpg cut", "png cut", "png with a wrong byte"])
def test_an_image_that_cannot_be_decoded_is_named(folder, kind):
    (folder / "b" / "x.tif").unlink()
    bad = folder / "b" / "broken.jpg"
    bad.write_bytes(damaged(kind))
    data = ImageFolder(str(folder), TO_TENSOR)
    data[0]
    with pytest.raises(ValueError, match=f"The image {bad} cannot be decoded"):
        data[1]


def test_splits_with_different_classes_are_refused(folder, tmp_path_factory):
    val = tmp_path_factory.mktemp("val")
    for name in ("a", "b"):
        (val / name).mkdir()
        Image.new("RGB", (4, 4)).save(val / name / "x.png")
    cfg = resolve("configs/classification/resnet50_toy.py", Options(overrides={"num_classes": 3, "batch": 2})).cfg
    cfg.train_dataloader.dataset.root, cfg.test_dataloader.dataset.root = str(folder), str(val)
    with pytest.raises(ValueError, match="should have the same class folders; only one has c"):
        check_data(cfg)
    for name, shade in (("a", 0), ("b", 0), ("c", 9)):
        Image.new("L", (4, 4), shade).save((val / name).mkdir(exist_ok=True) or val / name / "x.png")
    assert check_data(cfg) == []
    cfg.model.num_classes = 8
    with pytest.raises(ValueError, match="3 class folders and the config 8 classes; set --cfg-options num_classes=3"):
        check_data(cfg)


# ---- colours, noise and normalisation


def picture(height: int = 12, width: int = 10, seed: int = 6) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("strength", [0.1, 0.4, 0.8])
def test_the_jitter_of_the_papers_code_equals_torchvisions(strength):
    ours, theirs = ColorJitter(strength), torchvision.transforms.ColorJitter(strength, strength, strength)
    results = set()
    for seed in range(12):
        images = []
        for jitter in (ours, theirs):
            torch.manual_seed(seed)
            images.append(np.array(jitter(picture())))
        assert (images[0] == images[1]).all() and images[0].shape == (12, 10, 3)
        results.add(images[0].tobytes())
    assert len(results) == 12


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.4, 0.8])
@pytest.mark.parametrize("shape", [(3, 5), (64, 48), (90, 113)])
def test_the_jitter_of_a_tensor_gives_the_levels_that_pil_gives(strength, shape):
    """Try noise, and images with black and white areas, where sums are clipped."""
    jitter, theirs = ColorJitter(strength), torchvision.transforms.ColorJitter(strength, strength, strength)
    for seed in range(24):
        image = picture(*shape, seed)
        if seed % 2:
            image = image.point(lambda level: 0 if level < 90 else level).point(lambda level: 255 if level > 170 else level)
        tensor = torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())
        before, results = tensor.clone(), []
        for change, argument in ((jitter, tensor), (theirs, image)):
            torch.manual_seed(seed)
            results.append((change(argument), torch.rand(1).item()))
        (our_image, our_draw), (their_image, their_draw) = results
        assert (our_image.numpy() == np.array(their_image).transpose(2, 0, 1)).all()
        assert our_draw == their_draw  # both consumed the same number of draws
        assert torch.equal(tensor, before)


STEPS = {
    "crop": dict(type="torchvision.transforms.v2.RandomResizedCrop", size=(24, 31), scale=(0.08, 1.0), antialias=True),
    "bicubic": dict(type="torchvision.transforms.v2.RandomResizedCrop", size=24, interpolation=3),
    "flip": dict(type="torchvision.transforms.v2.RandomHorizontalFlip", p=0.5),
    "bcs": dict(type="classification.ColorJitter", strength=0.4, form="bcs"),
    "hsv": dict(type="classification.ColorJitter", strength=0.4, form="hsv"),
    "tensor": TO_TENSOR[0],
    "noise": dict(type="classification.PCANoise", std=0.5),
    "resize": dict(type="torchvision.transforms.v2.Resize", size=37, antialias=True),
    "centre": dict(type="torchvision.transforms.v2.CenterCrop", size=32),
}


@pytest.mark.parametrize(
    "names",
    [
        "crop flip bcs tensor noise",
        "crop flip hsv tensor noise",
        "crop flip tensor",
        "bicubic bcs flip tensor",
        "flip crop tensor bcs",
        "crop tensor flip noise",
        "resize centre tensor",
        "tensor",
    ],
)
def test_the_faster_steps_give_the_images_of_the_configured_steps(tmp_path, names):
    """Compare with torchvision's steps one after another, from the same draws."""
    (tmp_path / "a").mkdir()
    for i, size in enumerate([(70, 50), (50, 90), (33, 33), (200, 20)]):
        picture(*size, seed=i).save(tmp_path / "a" / f"{i}.jpg", quality=90)
    pipeline = [STEPS[name] for name in names.split()]
    data, steps = ImageFolder(str(tmp_path), pipeline), [TRANSFORMS.build(dict(step)) for step in pipeline]
    for i in range(24):
        torch.manual_seed(i)
        image, draw = data[i % 4]["inputs"], torch.rand(1)
        torch.manual_seed(i)
        expected = Image.open(data.samples[i % 4][0]).convert("RGB")
        for step in steps:
            if isinstance(step, ColorJitter) and step.code and isinstance(expected, torch.Tensor):
                expected = v2.functional.pil_to_tensor(step(v2.functional.to_pil_image(expected)))
            else:
                expected = step(expected)
        assert image.dtype == torch.uint8 and torch.equal(image, expected) and torch.equal(draw, torch.rand(1))


def test_only_steps_with_the_same_result_are_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    picture().save(tmp_path / "a" / "x.png")
    orders = {
        "crop flip bcs tensor": [Crop, Planes, Flip, ColorJitter],
        "crop flip hsv tensor": [Crop, "flip", ColorJitter, Planes],
    }
    for names, kinds in orders.items():
        data = ImageFolder(str(tmp_path), [STEPS[name] for name in names.split()])
        expected = [v2.RandomHorizontalFlip if kind == "flip" else kind for kind in kinds]
        assert [type(step) for step in data.transform.transforms] == expected
    bicubic = ImageFolder(str(tmp_path), [STEPS["bicubic"], STEPS["tensor"]])
    assert type(bicubic.transform.transforms[0]) is v2.RandomResizedCrop


@pytest.mark.parametrize("strength", [0.4, 0.9])
def test_the_jitter_of_the_papers_text_scales_hue_saturation_and_value(strength):
    """Scale in PIL's levels: each of the three is in 0..255, and a hue of 255 is a full turn."""
    image = picture(20, 20)
    levels = np.array(image.convert("HSV")).reshape(-1, 3).astype(float)
    exceeded = np.zeros(3, dtype=bool)
    for seed in range(6):
        torch.manual_seed(seed)
        factors = torch.empty(3).uniform_(1 - strength, 1 + strength).double().numpy()
        torch.manual_seed(seed)
        jittered = np.array(ColorJitter(strength, "hsv")(image)).reshape(-1, 3)
        scaled = levels * factors
        exceeded |= (scaled > 255).any(0)
        scaled = np.concatenate([scaled[:, :1] % 255, scaled[:, 1:].clip(0, 255)], 1)
        nearest = [[colorsys.hsv_to_rgb(*(pixel / 255)) for pixel in rounded(scaled)] for rounded in (np.floor, np.asarray)]
        truncated, exact = (255 * np.array(pixels) for pixels in nearest)
        assert np.abs(jittered - truncated).max() <= 1  # levels are truncated, as they are in MXNet
        assert np.abs(jittered - exact).mean() < 2
    assert exceeded.all()  # hue has wrapped, saturation and value were clipped


@pytest.mark.parametrize("strength", [0.1, 0.4])
def test_the_factors_of_the_jitter_lie_in_the_papers_range(strength):
    grey, jitter = Image.new("RGB", (2, 2), (100, 100, 100)), ColorJitter(strength, "hsv")
    torch.manual_seed(0)
    values = np.array([np.array(jitter(grey))[0, 0, 0] for _ in range(300)]) / 100
    assert (
        1 - strength - 0.011 <= values.min() <= 1 - 0.9 * strength and 1 + 0.9 * strength - 0.011 <= values.max() <= 1 + strength
    )
    assert abs(values.mean() - 0.995) < 5 * strength / np.sqrt(3 * 300)


def test_unknown_forms_of_the_jitter_are_refused():
    with pytest.raises(ValueError, match="form is 'hsl'; allowed: bcs, hsv"):
        ColorJitter(form="hsl")


@pytest.mark.parametrize("std", [0.1, 0.5, 3.0])
def test_pca_noise_adds_the_formula(std):
    image = torch.from_numpy(np.random.default_rng(3).integers(256, size=(3, 7, 5), dtype=np.uint8))
    before = image.clone()
    for seed in range(5):
        torch.manual_seed(seed)
        alpha = torch.randn(3).numpy().astype(np.float64) * std
        torch.manual_seed(seed)
        noisy = PCANoise(std)(image)
        shift = np.array(EIGENVECTORS) @ (alpha * np.array(EIGENVALUES))
        exact = np.clip(before.numpy() + shift[:, None, None], 0, 255)
        assert (noisy.dtype, noisy.shape) == (torch.uint8, image.shape)
        ambiguous = np.abs(exact - np.round(exact)) < 1e-3  # where float32 may truncate to the neighbour
        assert (noisy.numpy() == exact.astype(np.uint8))[~ambiguous].all() and np.abs(noisy.numpy() - exact).max() < 1.01
        assert std < 0.5 or not torch.equal(noisy, image)
    assert torch.equal(image, before)


def test_the_principal_components_are_orthonormal():
    vectors = np.array(EIGENVECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=2e-3)
    assert list(EIGENVALUES) == sorted(EIGENVALUES, reverse=True)
    assert len(set(np.sign(vectors[:, 0]))) == 1  # the first is brightness


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (5, 3, 17, 9)])
def test_normalisation_agrees_with_numpy(shape):
    images = np.random.default_rng(4).integers(256, size=shape, dtype=np.uint8)
    preprocess = ImagePreprocessor(MEAN, STD)
    labels = torch.arange(shape[0])
    data = preprocess({"inputs": torch.from_numpy(images), "labels": labels})
    expected = (images - np.array(MEAN).reshape(3, 1, 1)) / np.array(STD).reshape(3, 1, 1)
    assert data["inputs"].dtype == torch.float32 and torch.equal(data["labels"], labels)
    np.testing.assert_allclose(data["inputs"].numpy(), expected, rtol=1e-5, atol=1e-5)
    assert data["inputs"].is_contiguous(memory_format=torch.channels_last)
    assert not list(preprocess.parameters()) and not preprocess.state_dict()
