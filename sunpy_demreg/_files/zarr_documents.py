"""
What belongs to a Zarr store of this package, and the documents ``zarr.json`` in it.

All that is read is verified: each chunk ends in a checksum and must exist, and each ``zarr.json`` holds a checksum of
itself.
"""

import hashlib
import json
import re

from sunpy_demreg._common.atomic import replaced
from sunpy_demreg._common.urls import Url

__all__ = [
    "BOOKKEEPING",
    "FORMAT",
    "JSON",
    "PRODUCT",
    "foreign",
    "group_in",
    "open_store",
    "seal",
    "set_length",
    "sound",
]

FORMAT = "sunpy_demreg zarr"
PRODUCT = f"{FORMAT} product"
JSON = "zarr.json"
_TABLES = ("temperature", "temperature_edge", "channel", "time")
_OF_BATCH = ("image_date", "image_digest", "exposure_time", "exposure_span", "fits_header", "step_done")
#: Folder of a batch: what the processes that write the store need to know.
BOOKKEEPING = "batch"
#: Besides its arrays. Zarr and this package leave the other two where they are killed.
_OF_GROUP = r"zarr\.json|zarr\.[0-9a-f]{32}\.partial|\.[0-9a-f]{12}\.part\.json"
_OF_ARRAY = re.compile(rf"{_OF_GROUP}|c(/\d+)*(\.[0-9a-f]{{32}}\.partial)?")
_OF_GROUP = re.compile(_OF_GROUP)
_OF_BOOKKEEPING = re.compile(r"zarr\.json|index\.sqlite|\.[0-9a-f]{12}\.part\.(sqlite|json)|claims(/[\w.-]+)?")


def foreign(path):
    """Why a folder is not a store written by this package, and nothing else; None if it is."""
    try:
        attributes = json.loads((path / JSON).read_bytes())["attributes"]
        is_ours = attributes["format"].startswith(f"{FORMAT} ")
        own = {*_TABLES, *_OF_BATCH, *attributes["outputs"], *(f"{key}_mask" for key in attributes["masks"])}
        own.update(attributes.get("tables", ()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        is_ours = False
    if not is_ours:
        return "it is a folder, but not a store that sunpy_demreg wrote"

    def is_foreign(name):
        array, _, rest = name.partition("/")
        if array in own:
            return bool(rest) and not _OF_ARRAY.fullmatch(rest)
        if array == BOOKKEEPING:
            return bool(rest) and not _OF_BOOKKEEPING.fullmatch(rest)
        return not _OF_GROUP.fullmatch(name)

    others = sorted(filter(is_foreign, (each.relative_to(path).as_posix() for each in path.rglob("*"))))
    return f"it holds {', '.join(others[:3])}, which sunpy_demreg did not write" if others else None


def seal(path):
    """Give each file ``zarr.json`` of a store its checksum."""
    names = sorted(group_in(path).array_keys())
    for name in (*names, ""):  # that of the group last: a store without its checksum is none
        document = _document(path, name)
        if not name:
            document["attributes"]["arrays"] = names
        document["attributes"]["sha256"] = _digest(document, name)
        (path / name / JSON).write_bytes(json.dumps(document, indent=2).encode())


def set_length(path, name, n):
    """Change the number of time steps of an array, together with its checksum."""
    document = _document(path, name)
    document["shape"][document["dimension_names"].index("time")] = n
    if "sha256" in document["attributes"]:
        document["attributes"]["sha256"] = _digest(document, name)
    with replaced(path / name / JSON, overwrite=True) as part:
        part.write_text(json.dumps(document, indent=2))


def open_store(path, or_product=False):
    """Open a store of a result, for reading, or of a single cube; everything but the chunks is verified."""
    from sunpy_demreg._files.parts import format_version
    from sunpy_demreg._files.products import PRODUCT_VERSION

    try:
        group = group_in(path)
    except FileNotFoundError as err:
        raise ValueError("there is no Zarr group in it") from err
    found = group.attrs.get("format")
    is_product = or_product and str(found).startswith(PRODUCT)
    kind = (PRODUCT, PRODUCT_VERSION) if is_product else (FORMAT,)
    if format_version(found, *kind) > 1 or is_product or "sha256" in group.attrs:
        for name in ("", *group.attrs["arrays"]):
            _verify(path, name)
    return group


def group_in(path, mode="r"):
    """Open the Zarr group at a path or URL, for reading, or with "r+" also for writing."""
    import zarr

    if not isinstance(path, Url):
        return zarr.open_group(path, mode=mode)
    with path.reached():
        return zarr.open_group(path.store(read_only=mode == "r"), mode=mode)


def sound(group, name):
    """An array of a store; a missing chunk is an error if the store was written with all of them."""
    return group[name].with_config({"read_missing_chunks": "sha256" not in group.attrs})


def _verify(path, name):
    document = _document(path, name)
    if document["attributes"]["sha256"] != _digest(document, name):
        raise ValueError(f"the checksum of {name or 'the store'}/{JSON} does not match")


def _document(path, name):
    return json.loads((path / name / JSON).read_bytes())


def _digest(document, name):
    attributes = {key: value for key, value in document["attributes"].items() if key != "sha256"}
    text = json.dumps([name, document | {"attributes": attributes}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
