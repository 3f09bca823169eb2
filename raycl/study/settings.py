"""Every dotted field of a cell: where its value comes from, and what it displaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from raycl import calls, userfiles
from raycl.configs import check_owner, check_verbs
from raycl.errors import UserError, nearest
from raycl.method import Method
from raycl.networks import Network
from raycl.space import Choice, Field, Float, Int, coerce, coerced, field_of, fields_of, filled
from raycl.study.cells import Setting
from raycl.study.values import Study
from raycl.training import presets
from raycl.training.fit import Fit

SPECIAL = ("method", "network", "preset", "search", "benchmarks")


def settings_of(
    study: Study,
    place: str,
    method: type[Method],
    network: type[Network],
    network_text: str,
    preset: str | None,
    keys: Mapping[str, Any],
    benchmark: str,
) -> dict[str, Setting]:
    """Every dotted field of a cell; what stands later overrides what stands earlier."""
    with userfiles.blamed(method):
        check_owner(method, Method)
        check_verbs(method, Method)
    with userfiles.blamed(network):
        check_owner(network, Network)
    kinds = {"method": method.Config, "net": network.Config, "fit": Fit.Config}
    settings = {
        f"{room}.{name}": Setting(f, f.default, f.domain)
        for room, kind in kinds.items()
        for name, f in fields_of(kind).items()
    }

    def put(
        values: Mapping[str, Any], where: str, source: str, explicit: bool = True, lenient: bool = False
    ) -> None:
        for key, value in values.items():
            room, dot, name = key.partition(".")
            if not dot or room not in kinds:
                known = [*settings, *SPECIAL]
                raise UserError(
                    f"{where}: unknown key {key!r}{nearest(key, known)} "
                    "(keys are method, network, preset, search, benchmarks, and method.x, fit.x, net.x)"
                )
            if lenient and key not in settings:
                continue
            named = f"{where}: {_named(room, method, network)}"
            before = settings.get(key)
            found = _setting(field_of(kinds[room], name, named), value, f"{where}: {key}", explicit)
            found = dataclasses.replace(found, source=source, instead=_displaced(before, source))
            if found.domain is not None and not explicit and before is not None:
                found = dataclasses.replace(found, value=before.value, source=before.source)  # of no search
            settings[key] = found

    for part in presets.parts_of(preset, place):
        whose = f"preset {part}"
        put({f"fit.{k}": v for k, v in presets.PRESETS[part].fit.items()}, whose, whose, False)
        net = presets.PRESETS[part].net_on(benchmark, f"{place}: preset {part!r}")
        put({f"net.{k}": v for k, v in net.items()}, whose, whose, False, True)
    put({f"fit.{k}": v for k, v in method.fit.items()}, method.__name__, "method", False)
    for part in presets.parts_of(preset, place):
        own = f"{method.__name__}.presets[{part!r}]"
        put(method.presets.get(part, {}), own, f"preset {part}", False)
    given = calls.parse(network_text, place).settings(network.Config, f"{place}: network")
    put({f"net.{k}": v for k, v in given.items()}, f"{place}: network", "network")
    put({f"fit.{k}": v for k, v in study.fit.items()}, study.file, "study fit")
    put(keys, place, "label")
    _check_values(settings, kinds, place)
    return settings


def _displaced(before: Setting | None, source: str) -> tuple[Any, str] | None:
    """What a method or a preset wanted, where the study's fit stands in its place."""
    if source != "study fit" or before is None or before.source == "default":
        return None
    return (before.value if before.domain is None else before.domain), before.source


def _named(room: str, method: type[Method], network: type[Network]) -> str:
    return {"method": calls.name_of(method), "net": calls.name_of(network), "fit": "fit"}[room]


def _setting(field: Field, value: Any, place: str, explicit: bool) -> Setting:
    if not isinstance(value, Float | Int | Choice):
        return Setting(field, coerce(value, field.type, place, field))
    return Setting(field, field.default, coerced(value, field.type, place, field), explicit)


def _check_values(settings: Mapping[str, Setting], kinds: Mapping[str, type], place: str) -> None:
    """Let each Config check its fixed values together."""
    for room, kind in kinds.items():
        values = {k.partition(".")[2]: s.value for k, s in settings.items() if k.startswith(f"{room}.")}
        with userfiles.blamed(kind):
            filled(kind, values, f"{place}: {room}")
