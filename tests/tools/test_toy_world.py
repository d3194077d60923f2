"""Test the synthetic datasets: layout, annotations against the drawn pixels, and identical files from run to run."""

import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.engine.toy_data import scenes as toy_draw
from tools.engine.toy_data import writer as toy_world
from tools.engine.toy_data.writer import ADE_IDS, CLASSES, STUFF, ToySizes, image_rng, make_toy
from tools.prepare_data import disk_use, say_images

SIZES = ToySizes(2, 1, voc_train=12, voc_val=6, voc_test=8, ade_training=6, ade_validation=3)
BOX = ("xmin", "ymin", "xmax", "ymax")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("worlds") / "deep" / "toy"
    make_toy(root, seed=5, sizes=SIZES, processes=1)
    return root


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def voc_rows(root: Path, name: str) -> list[str]:
    return (root / "VOCdevkit/VOC2007/ImageSets/Main" / f"{name}.txt").read_text().splitlines()


def voc_objects(root: Path, stem: str) -> list[dict]:
    tree = ET.parse(root / "VOCdevkit/VOC2007/Annotations" / f"{stem}.xml").getroot()
    return [
        {
            "name": o.findtext("name"),
            "box": tuple(int(o.findtext(f"bndbox/{k}")) for k in BOX),
            "difficult": o.findtext("difficult") == "1",
            "truncated": o.findtext("truncated") == "1",
        }
        for o in tree.iter("object")
    ]


def test_constants_name_eight_classes_that_need_both_shape_and_texture():
    assert len(CLASSES) == len(set(CLASSES)) == 8
    shapes = [name.split("_")[1] for name in CLASSES]
    textures = [name.split("_")[0] for name in CLASSES]
    assert all(shapes.count(s) == 4 for s in shapes) and all(textures.count(t) == 2 for t in textures)
    assert set(ADE_IDS) == set(CLASSES) | set(STUFF)
    assert len(set(ADE_IDS.values())) == len(ADE_IDS)
    assert min(ADE_IDS.values()) == 1 and max(ADE_IDS.values()) == 150


def test_folder_set_has_the_asked_number_of_decodable_images_in_each_class(world):
    for split, count in (("train", 2), ("val", 1)):
        folder = world / "imagenet" / split
        assert sorted(p.name for p in folder.iterdir()) == sorted(CLASSES)
        for cls in CLASSES:
            images = sorted((folder / cls).glob("*.jpg"))
            assert len(images) == count
            for path in images:
                with Image.open(path) as image:
                    image.load()
                    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (80, 80))


def test_voc_sets_partition_the_images_and_sizes_agree(world):
    top = world / "VOCdevkit/VOC2007"
    sets = {name: voc_rows(world, name) for name in ("train", "val", "trainval", "test")}
    assert [len(sets[n]) for n in ("train", "val", "trainval", "test")] == [12, 6, 18, 8]
    assert sets["trainval"] == sets["train"] + sets["val"]
    stems = sorted(sets["trainval"] + sets["test"])
    assert stems == sorted(p.stem for p in (top / "JPEGImages").glob("*.jpg")) and len(set(stems)) == 26
    assert stems == sorted(p.stem for p in (top / "Annotations").glob("*.xml"))
    for stem in stems:
        assert len(stem) == 6 and stem.isdigit()
        tree = ET.parse(top / "Annotations" / f"{stem}.xml").getroot()
        assert (tree.findtext("folder"), tree.findtext("filename")) == ("VOC2007", f"{stem}.jpg")
        with Image.open(top / "JPEGImages" / f"{stem}.jpg") as image:
            image.load()
            assert image.mode == "RGB" and 112 <= min(image.size) <= max(image.size) <= 160
            assert image.size == (int(tree.findtext("size/width")), int(tree.findtext("size/height")))
        objects = voc_objects(world, stem)
        assert 1 <= len(objects) <= 5
        for o in objects:
            assert o["name"] in CLASSES
            assert 1 <= o["box"][0] < o["box"][2] <= image.width
            assert 1 <= o["box"][1] < o["box"][3] <= image.height


def test_voc_class_lists_follow_from_the_xml(world):
    seen = set()
    for name in ("train", "val", "trainval", "test"):
        for cls in CLASSES:
            rows = [row.split() for row in voc_rows(world, f"{cls}_{name}")]
            assert [stem for stem, _ in rows] == voc_rows(world, name)
            for stem, flag in rows:
                flags = [o["difficult"] for o in voc_objects(world, stem) if o["name"] == cls]
                assert int(flag) == (-1 if not flags else int(not all(flags)))
                seen.add(int(flag))
    assert {-1, 1} <= seen


def test_voc_boxes_are_those_of_the_drawn_masks(world):
    kinds = set()
    for i, stem in enumerate(voc_rows(world, "train")):
        scene = toy_draw.voc_scene(image_rng(5, "voc/train", i))
        objects = voc_objects(world, stem)
        assert [o["name"] for o in objects] == [CLASSES[t.label] for t in scene.things]
        for k, (o, thing) in enumerate(zip(objects, scene.things, strict=True)):
            ys, xs = np.nonzero(scene.owner == k)
            assert o["box"] == (xs.min() + 1, ys.min() + 1, xs.max() + 1, ys.max() + 1)
            x0, y0, x1, y1 = thing.extent
            assert o["truncated"] == (o["box"] != (x0 + 1, y0 + 1, x1, y1))
            tiny = min(np.ptp(xs), np.ptp(ys)) + 1 < toy_world.DIFFICULT_SIDE
            assert o["difficult"] == (tiny or len(xs) < 0.4 * thing.area)
            kinds.add((o["truncated"], o["difficult"]))
    assert {(False, False), (True, False)} <= kinds


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_the_mask_covers_the_pixels_that_change(label):
    image = np.full((100, 120, 3), 0.5, np.float32)
    scene = toy_draw.Scene(image, np.zeros((100, 120), np.uint8), np.full((100, 120), -1, np.int16))
    assert toy_draw.draw_thing(np.random.default_rng(label), scene, label, 50, (40, 70))
    changed = np.abs(scene.image - 0.5).max(-1) > 1e-3
    owned = scene.owner == 0
    assert changed[owned].mean() > 0.97
    assert (changed & ~owned).sum() < 0.3 * owned.sum()  # the rim of half-covered pixels
    assert owned.sum() == scene.things[0].area
    ys, xs = np.nonzero(owned)
    assert abs(xs.mean() - 70) < 5 and abs(ys.mean() - 40) < 5
    assert 38 <= max(np.ptp(xs), np.ptp(ys)) + 1 <= 62


def test_no_object_is_hidden_below_the_limit():
    for i in range(60):
        scene = toy_draw.voc_scene(image_rng(0, "voc/test", i))
        for k, thing in enumerate(scene.things):
            assert (scene.owner == k).sum() >= toy_draw.MIN_VISIBLE * thing.area


def test_difficult_marks_the_hidden_and_the_tiny():
    scene = toy_draw.Scene(np.zeros((60, 60, 3), np.float32), np.zeros((60, 60), np.uint8), np.full((60, 60), -1, np.int16))
    scene.things = [toy_draw.Thing(i, a, e) for i, a, e in ((0, 400, (0, 0, 20, 20)), (1, 121, (30, 30, 41, 41)))]
    scene.owner[0:20, 0:20], scene.owner[30:41, 30:41] = 0, 1
    whole, tiny = toy_world.boxes(scene)
    assert (whole.xmin, whole.ymin, whole.xmax, whole.ymax) == (1, 1, 20, 20)
    assert not whole.truncated and not whole.difficult and tiny.difficult and not tiny.truncated
    scene.owner[0:20, 7:20] = -1
    hidden = toy_world.boxes(scene)[0]
    assert hidden.truncated and hidden.difficult and hidden.xmax == 7


def test_ade_pairs_images_and_masks_of_known_ids(world):
    top, seen = world / "ADEChallengeData2016", set()
    for part, stem, count in (("training", "ADE_train_", 6), ("validation", "ADE_val_", 3)):
        names = [f"{stem}{i + 1:08d}" for i in range(count)]
        assert sorted(p.name for p in (top / "images" / part).iterdir()) == [f"{n}.jpg" for n in names]
        assert sorted(p.name for p in (top / "annotations" / part).iterdir()) == [f"{n}.png" for n in names]
        for i, name in enumerate(names):
            with Image.open(top / "images" / part / f"{name}.jpg") as image:
                image.load()
            with Image.open(top / "annotations" / part / f"{name}.png") as png:
                assert (png.mode, png.size, image.mode) == ("L", image.size, "RGB")
                mask = np.array(png)
            assert 128 <= min(mask.shape) <= max(mask.shape) <= 160
            ids = set(np.unique(mask).tolist())
            assert ids <= {0, *ADE_IDS.values()} and (mask == 0).mean() < 0.15
            scene = toy_draw.ade_scene(image_rng(5, f"ade/{part}", i))
            for k, thing in enumerate(scene.things):
                assert (mask[scene.owner == k] == ADE_IDS[CLASSES[thing.label]]).all()
            assert 2 <= len(set(np.unique(scene.ground).tolist()) - {0}) <= 5
            assert (mask == scene.ground)[scene.owner < 0].all()
            seen |= ids
    assert 0 in seen and seen & {ADE_IDS[s] for s in STUFF} and seen & {ADE_IDS[c] for c in CLASSES}


def test_files_are_those_of_the_scenes(world):
    """Check that the JPEG is the annotated scene, except for coding loss."""
    rng = image_rng(5, "voc/val", 2)
    drawn = toy_draw.finish(rng, toy_draw.voc_scene(rng).image).astype(float)
    stem = voc_rows(world, "val")[2]
    with Image.open(world / f"VOCdevkit/VOC2007/JPEGImages/{stem}.jpg") as image:
        stored = np.asarray(image, float)
    assert np.abs(stored - drawn).mean() < 8 < np.abs(stored[..., ::-1] - drawn).mean()


def test_the_process_count_changes_no_byte(world, tmp_path):
    make_toy(tmp_path / "toy", seed=5, sizes=SIZES, processes=2)
    assert files(tmp_path / "toy") == files(world)


def test_another_seed_changes_every_image(world, tmp_path):
    make_toy(tmp_path / "toy", seed=6, sizes=SIZES, processes=1)
    original, other = files(world), files(tmp_path / "toy")
    assert original.keys() == other.keys()
    assert not [n for n in original if n.endswith((".jpg", ".png")) and original[n] == other[n]]


def test_more_images_leave_the_first_ones_as_they_were(world, tmp_path):
    more = ToySizes(3, 1, voc_train=13, voc_val=6, voc_test=8, ade_training=7, ade_validation=3)
    make_toy(tmp_path / "toy", seed=5, sizes=more, processes=1)
    original, other = files(world), files(tmp_path / "toy")
    shared = [n for n in original if n.startswith(("imagenet/", "ADE"))]
    assert len(shared) == 8 * 3 + 2 * 9 and all(original[n] == other[n] for n in shared)


def test_no_image_occurs_twice(world):
    images = [data for name, data in files(world).items() if name.endswith(".jpg")]
    assert len(set(images)) == len(images) == 8 * 3 + 26 + 9


def test_toy_json_describes_the_files(world):
    note = json.loads((world / "toy.json").read_text())
    assert (note["seed"], note["version"], note["classes"]) == (5, toy_world.VERSION, list(CLASSES))
    assert note["counts"] == {
        **{"imagenet/train": 16, "imagenet/val": 8, "voc/train": 12, "voc/val": 6, "voc/test": 8},
        **{"ade/training": 6, "ade/validation": 3},
    }
    assert note["bytes"] == sum(len(data) for name, data in files(world).items() if name != "toy.json")


def test_complete_datasets_are_reused_unchanged(world):
    before = {p: p.stat().st_mtime_ns for p in world.rglob("*")}
    (world / "VOCdevkit" / "annots.pkl").write_bytes(b"a reader's cache does no harm")
    again = make_toy(world, seed=5, sizes=SIZES, processes=1)
    assert again["reused"] and {p: p.stat().st_mtime_ns for p in before if p.is_file()} == {
        p: t for p, t in before.items() if p.is_file()
    }
    (world / "VOCdevkit" / "annots.pkl").unlink()


def test_anything_else_at_the_root_is_refused(world, tmp_path):
    with pytest.raises(ValueError, match="does not hold complete synthetic datasets of seed 6"):
        make_toy(world, seed=6, sizes=SIZES, processes=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="Give a new or empty folder"):
        make_toy(tmp_path, seed=5, sizes=SIZES, processes=1)
    with pytest.raises(ValueError, match="Give a new or empty folder"):
        make_toy(tmp_path / "notes.txt", seed=5, sizes=SIZES, processes=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_damaged_datasets_are_refused(tmp_path):
    sizes = ToySizes(1, 1, 1, 1, 1, 1, 1)
    make_toy(tmp_path / "toy", sizes=sizes, processes=1)
    next((tmp_path / "toy").rglob("*.png")).unlink()
    with pytest.raises(ValueError, match="does not hold complete"):
        make_toy(tmp_path / "toy", sizes=sizes, processes=1)


def test_progress_in_a_pipe_is_a_few_whole_lines(capsys):
    for done in (*range(200, 2810, 200), 2810):
        say_images(done, 2810)
    assert capsys.readouterr().out == "1000/2810 images\n2000/2810 images\n2810/2810 images\n"


def test_progress_on_a_terminal_stays_on_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for done in (200, 400, 450):
        say_images(done, 450)
    assert capsys.readouterr().out == "\r200/450 images\r400/450 images\r450/450 images\n"


def test_the_size_is_that_of_du(world):
    used = subprocess.run(["du", "-s", "--block-size=1", world], capture_output=True, text=True, check=True).stdout
    assert disk_use(Path(world)) == int(used.split()[0])


def test_an_interrupted_run_leaves_no_files(tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "toy").mkdir()
    with pytest.raises(KeyboardInterrupt):
        make_toy(tmp_path / "toy", progress=stop, sizes=ToySizes(1, 1, 1, 1, 1, 1, 1), processes=1)
    assert [p.name for p in tmp_path.rglob("*")] == ["toy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed .* is -1"),
        ({"processes": 0}, "processes .* is 0"),
        ({"sizes": ToySizes(voc_val=0)}, "voc_val is 0"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_toy(tmp_path / "toy", **arguments)
    assert not any(tmp_path.iterdir())
