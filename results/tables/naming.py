"""How tables call networks, methods and heads, and the groups that rows come in."""

from __future__ import annotations

from ...triple import Triple
from ..records.manifest import RunManifest
from ..scores.merge import Merged
from ..statistics.standing import BASE_HEAD, base_triple

__all__ = ["BASE_HEAD", "base_triple"]

CONTROL_MARK = "†"


def cam_title(manifest: RunManifest, cam: str) -> str:
    """Name of a method in tables."""
    return (manifest.cams[cam].title if cam in manifest.cams else "") or cam


def head_title(manifest: RunManifest, head: str) -> str:
    """Name of a head in tables."""
    return (manifest.heads[head].title if head in manifest.heads else "") or head


def backbone_title(manifest: RunManifest, backbone: str) -> str:
    """Name of a backbone in tables."""
    return (manifest.backbones[backbone].title if backbone in manifest.backbones else "") or backbone


def row_title(manifest: RunManifest, triple: str) -> str:
    """Name of a row among those of its backbone: the method, and the head where it is not the base head."""
    _, cam, head = Triple.parse(triple).names
    name = cam_title(manifest, cam) + (f" {CONTROL_MARK}" if manifest.is_control(cam) else "")
    return name if head == BASE_HEAD else f"{name} + {head_title(manifest, head)}"


def cam_cost(manifest: RunManifest, backbone: str, cam: str) -> str:
    """The declared cost of a method's map on a network, without its remark; empty where the records do not say."""
    return manifest.cost(backbone, cam).partition(";")[0].strip()


def identity(manifest: RunManifest, triple: str) -> str:
    """Why an aliased triple has the records of another, in words."""
    return manifest.identities.get(Triple.parse(triple)) or f"{triple} has the maps of {manifest.canonical(triple)}"


def backbone_groups(merged: Merged) -> dict[str, dict[str, list[Triple]]]:
    """Backbone -> CAM method -> triples, the base head first; in table order, the controls last."""
    groups: dict[str, dict[str, list[Triple]]] = {}
    for triple in merged.triples:
        groups.setdefault(triple.backbone, {}).setdefault(triple.cam, []).append(triple)
    for backbone, cams in groups.items():
        for triples in cams.values():
            triples.sort(key=lambda t: t != base_triple(t))
        ordered = sorted(cams, key=lambda cam: merged.manifest(cams[cam][0]).is_control(cam))
        groups[backbone] = {cam: cams[cam] for cam in ordered}
    return groups
