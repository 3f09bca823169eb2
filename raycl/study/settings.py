"""Resolution of every dotted field of a cell: its value, where it comes from, and what it replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from raycl import calls, userfiles
from raycl.configs import check_owner, check_verbs
from raycl.errors import UserError, nearest
from raycl.method import Method
from raycl.networks import Network
from raycl.space import Choice, Field, Float, Int, coerce, coerced, field_of, fields_of, make_config
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
    """Return every dotted field of a cell.

    Sources are applied in a fixed order, and later ones override earlier ones: defaults, preset, method,
    network, the study's `fit`, and the keys of the label.

    Args:
        study: The study.
        place: Where the label is defined, for messages.
        method: Class of the method.
        network: Class of the network.
        network_text: The network as it was written, such as ``"mlp(hidden=64)"``.
        preset: Name of the preset, or None.
        keys: The remaining keys of the label.
        benchmark: Name of the benchmark, on which some presets depend.

    Raises:
        UserError: If a key or a value is wrong.
    """
    with userfiles.blamed(method):
        check_owner(method, Method)
        check_verbs(method, Method)
    with userfiles.blamed(network):
        check_owner(network, Network)
    fields = _Fields({"method": method, "net": network, "fit": Fit})
    _put_preset(fields, preset, method, benchmark, place)
    given = calls.parse(network_text, place).settings(network.Config, f"{place}: network")
    fields.put({f"net.{k}": v for k, v in given.items()}, f"{place}: network", "network")
    fields.put({f"fit.{k}": v for k, v in study.fit.items()}, study.file, "study fit")
    fields.put(keys, place, "label")
    fields.check_values(place)
    return fields.settings


def _put_preset(
    fields: _Fields, preset: str | None, method: type[Method], benchmark: str, place: str
) -> None:
    """Put the values of the preset's parts and of the method itself.

    Their domains serve as defaults: they do not ask for a search by themselves.
    """
    parts = presets.parts_of(preset, place)
    for part in parts:
        source = f"preset {part}"
        found = presets.PRESETS[part]
        fields.put({f"fit.{k}": v for k, v in found.fit.items()}, source, source, explicit=False)
        net = {f"net.{k}": v for k, v in found.net_on(benchmark, f"{place}: preset {part!r}").items()}
        fields.put(net, source, source, explicit=False, lenient=True)
    own = {f"fit.{k}": v for k, v in method.fit_defaults.items()}
    fields.put(own, method.__name__, "method", explicit=False)
    for part in parts:
        where = f"{method.__name__}.preset_overrides[{part!r}]"
        fields.put(method.preset_overrides.get(part, {}), where, f"preset {part}", explicit=False)


class _Fields:
    """The fields of a cell by their dotted names; later values override earlier ones.

    Attributes:
        owners: Classes whose `Config` has the fields, by the part of the name before the dot.
    """

    def __init__(self, owners: Mapping[str, Any]) -> None:
        self.owners = owners
        self.settings = {
            f"{room}.{name}": Setting(f, f.default, f.domain)
            for room, owner in owners.items()
            for name, f in fields_of(owner.Config).items()
        }

    def put(
        self,
        values: Mapping[str, Any],
        where: str,
        source: str,
        explicit: bool = True,
        lenient: bool = False,
    ) -> None:
        """Set fields to values, or to domains to search.

        Args:
            values: Values or domains by dotted name.
            where: The place that gives them, for messages.
            source: Name of that place in a plan.
            explicit: Whether a domain asks for a search; otherwise it is only used if there is one.
            lenient: Whether to skip fields that do not exist.

        Raises:
            UserError: If a field does not exist or does not accept its value.
        """
        for key, value in values.items():
            room, dot, name = key.partition(".")
            if not dot or room not in self.owners:
                known = [*self.settings, *SPECIAL]
                raise UserError(
                    f"{where}: unknown key {key!r}{nearest(key, known)} "
                    "(keys are method, network, preset, search, benchmarks, and method.x, fit.x, net.x)"
                )
            if lenient and key not in self.settings:
                continue
            field = field_of(self.owners[room].Config, name, f"{where}: {self._named(room)}")
            before = self.settings.get(key)
            found = _setting(field, value, f"{where}: {key}", explicit)
            found = dataclasses.replace(found, source=source, instead=_displaced(before, source))
            if found.domain is not None and not explicit and before is not None:
                # Without a search, the value that was there before still holds.
                found = dataclasses.replace(found, value=before.value, source=before.source)
            self.settings[key] = found

    def _named(self, room: str) -> str:
        return "fit" if room == "fit" else calls.name_of(self.owners[room])

    def check_values(self, place: str) -> None:
        """Make each Config once, so that it checks its fixed values together."""
        for room, owner in self.owners.items():
            own = {key: s.value for key, s in self.settings.items() if key.startswith(f"{room}.")}
            values = {key.partition(".")[2]: value for key, value in own.items()}
            with userfiles.blamed(owner.Config):
                make_config(owner.Config, values, f"{place}: {room}")


def _displaced(before: Setting | None, source: str) -> tuple[Any, str] | None:
    """Return the value and source of a method or preset that the study's `fit` replaces, or None."""
    if source != "study fit" or before is None or before.source == "default":
        return None
    return (before.value if before.domain is None else before.domain), before.source


def _setting(field: Field, value: Any, place: str, explicit: bool) -> Setting:
    if not isinstance(value, Float | Int | Choice):
        return Setting(field, coerce(value, field.type, place, field))
    return Setting(field, field.default, coerced(value, field.type, place, field), explicit)
