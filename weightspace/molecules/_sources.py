"""Where the files of published data sets come from, their sizes and checksums."""

from collections.abc import Mapping

from weightspace.molecules._downloads import RemoteFile

_RMD17 = "https://raw.githubusercontent.com/andersx/rmd17-npz/4f6bb0a186822c90d47cd98b7a27991fe0b3173b/rmd17-npz"
_BOTNET = "https://raw.githubusercontent.com/davkovacs/BOTNet-datasets/29e6d467317e4b5967b7ea5cbee54de953fa0d45"
_QML = "https://github.com/qmlcode/qml/archive/8bb833cdbbe69405384d6796920c5418dc53b6ba.tar.gz"

KNOWN: Mapping[str, tuple[int, str]] = {
    "rmd17/rmd17_aspirin_test_01.npz": (1537803, "a3c3b61e782d01e6dd649a126004903f7873e8e7ee5034135abfdb8873be711d"),
    "rmd17/rmd17_aspirin_train_01.npz": (1537803, "d460f0e43a1a9411b55cdcd9cdbeb9466ae62851ac91392516ab88e4ebc68143"),
    "rmd17/rmd17_azobenzene_test_01.npz": (1753806, "e83c87fe541a95e7349684e47294821ada708a780b59c469d3792588213cfc05"),
    "rmd17/rmd17_azobenzene_train_01.npz": (
        1753806,
        "7a2ce543773f6cb7a2cccecbc37fd479781e27ec2d0bb4e5f9ecff8e404e5857",
    ),
    "rmd17/rmd17_benzene_test_01.npz": (889794, "4aad4aa2f5ae6aa78d2d9f5da7cb285c97864cfbdf054b67de12a1429b249534"),
    "rmd17/rmd17_benzene_train_01.npz": (889794, "6e69deb5dc8663c2d2461cc50e522c74742acea7b4185da348fc08585a15cdc7"),
    "rmd17/rmd17_ethanol_test_01.npz": (673791, "c3594a0f93d5992e02f9eb671392fb2e5021b3fa4f902417886966d1e4f64e1e"),
    "rmd17/rmd17_ethanol_train_01.npz": (673791, "096946747b8d9dcfa042b44f8debbd3da387dfe1586b659e3be789cc4927316a"),
    "rmd17/rmd17_malonaldehyde_test_01.npz": (
        673791,
        "147404574d4fe3204dea7eb3799426d264e36b7900012f27fd2d26a26832fdaf",
    ),
    "rmd17/rmd17_malonaldehyde_train_01.npz": (
        673791,
        "95723385cdfd7f8446a84cdff607f14901e4c2b3949db7a965147dc5098d8ee1",
    ),
    "rmd17/rmd17_naphthalene_test_01.npz": (
        1321800,
        "80a19bca6aaa5cdf241007d6a7332e7b96a8e6ef362c1badcdb86a574ac3fe06",
    ),
    "rmd17/rmd17_naphthalene_train_01.npz": (
        1321800,
        "940f41110785fb0d3fa5feac68800cf4c68bd05fd55d563d3adacf5247d7688a",
    ),
    "rmd17/rmd17_paracetamol_test_01.npz": (
        1465802,
        "99e09ff10b54c55830c011c0959b643bede0512a89ae5b5b9a11e8abea9b3eaa",
    ),
    "rmd17/rmd17_paracetamol_train_01.npz": (
        1465802,
        "819513d42011a63773ff1baf61b06f9f0884370fbdb6539d6f11fc6cb580a0ba",
    ),
    "rmd17/rmd17_salicylic_test_01.npz": (1177798, "4a03f66c719d7684f39620b2bae6842613482a86cdd4e6f95115ae4d37f03cc0"),
    "rmd17/rmd17_salicylic_train_01.npz": (1177798, "9f96d79ec7a66dec666dbba60307c083ede80ecc919e0c9513ad9accfe43b5c0"),
    "rmd17/rmd17_toluene_test_01.npz": (1105797, "8a658b9bf1b7a5c1abaa03846ee6302725e02bdcd2ab720ef94da0be55625faa"),
    "rmd17/rmd17_toluene_train_01.npz": (1105797, "24d0642f897a1da1fdc4dbdd0a9c2a7f6082dd88e02954b12896a45a7a5fbac7"),
    "rmd17/rmd17_uracil_test_01.npz": (889794, "ceda757f7670d97080ec3c28dfb559aeb8ca54f49e7f0da0682fa1eb5ac00907"),
    "rmd17/rmd17_uracil_train_01.npz": (889794, "e1d450430362e3bebdeea96b24501f5e56a5a8af1eb02d50cb763f48b51523cf"),
    "acac/isolated_atoms.xyz": (455, "b74f321b453374621b447d65c60979f70df1b7182c8ee0215388b2c574f33823"),
    "acac/test_MD_300K.xyz": (1144100, "2291f3186a3cc6a5e05e92952c84a9237ca53f862d78fd3316a769360719ec43"),
    "acac/test_MD_600K.xyz": (1144153, "d5a5bba154ec43f915eb7529f86ec3af60e6f911743859daba030181a0378ff7"),
    "acac/train_300K.xyz": (880100, "8f5706d6902360555a5be59395612d2afc3489a75688388a58e7275fdad68af3"),
    "acac/train_600K.xyz": (880112, "180c2538508f7810a623c279426f44953ee7cfb2af77e48ea3986ff97645a71c"),
    "3bpa/iso_atoms.xyz": (504, "e12a2465a2612bf38fd5dabdf64d4b57fc58ce9610a858c54ea1142d517c053f"),
    "3bpa/train_300K.xyz": (1504880, "d109971fab90e2231ad931a83eb704c8d940f5c7d7a8de27fe3b84ea18634c0a"),
    "3bpa/train_mixedT.xyz": (1504818, "bc108532964b2ed259eaaabf82e5dfaffa5bda9ac384fc2afabcce192a49250b"),
}
"""Bytes and sha256 of the files that were used in development."""


def _file(dataset: str, name: str, place: str) -> RemoteFile:
    size, digest = KNOWN.get(f"{dataset}/{name}", (None, None))
    return RemoteFile(name, f"{place}/{name}", size, digest)


def rmd17_files(molecule: str) -> list[RemoteFile]:
    """Training and test frames of the official split 01, by an author of the data set.

    Example:
        >>> [file.name for file in rmd17_files("uracil")]
        ['rmd17_uracil_train_01.npz', 'rmd17_uracil_test_01.npz']
    """
    return [_file("rmd17", f"rmd17_{molecule}_{part}_01.npz", _RMD17) for part in ("train", "test")]


def acac_files(training: str) -> list[RemoteFile]:
    """One training file, both tests and the isolated atoms."""
    names = [training, "test_MD_300K.xyz", "test_MD_600K.xyz", "isolated_atoms.xyz"]
    return [_file("acac", name, f"{_BOTNET}/dataset_acac") for name in names]


THREE_BPA_TRAINING = [_file("3bpa", name, f"{_BOTNET}/dataset_3BPA") for name in ("train_300K.xyz", "iso_atoms.xyz")]
THREE_BPA_TESTS = [_file("3bpa", f"test_{t}K.xyz", f"{_BOTNET}/dataset_3BPA") for t in (300, 600, 1200)]
THREE_BPA_MIXED = [_file("3bpa", "train_mixedT.xyz", f"{_BOTNET}/dataset_3BPA")]
QM7_REPOSITORY = RemoteFile("qml-8bb833cdbbe69405384d6796920c5418dc53b6ba.tar.gz", _QML)
"""Holds `tests/qm7/*.xyz` and `tests/data/hof_qm7.txt`; packed anew by the server, so that no size is known."""

QM9_MOLECULES = RemoteFile("qm9.zip", "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/molnet_publish/qm9.zip")
"""Holds `gdb9.sdf` and `gdb9.sdf.csv`."""

QM9_REFUSED = RemoteFile("uncharacterized.txt", "https://ndownloader.figshare.com/files/3195404")
