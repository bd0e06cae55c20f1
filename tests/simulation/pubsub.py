"""Pub/Sub, simulated: at least once, in any order, with dead letters."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from cloudevents.http import CloudEvent

from shared.delivery import receive
from shared.errors import MalformedEvent
from tests.simulation.faults import Fault, Site
from tests.simulation.world import EPOCH, Killed, Violation, World

_HEADERS = {"Content-Type": "application/json"}
_MOST_DELIVERIES = 5
_LONGEST_BACKOFF = 600.0
# How late a message comes: seldom by hours.
_USUAL_DELAY, _LONGEST_DELAY, _SHARE_LONG = 120.0, 6 * 3600.0, 0.1
SKEW = 20.0


@dataclass(slots=True)
class Message:
    """One message, and how often it was delivered. `genuine`: it comes from whom it seems to come."""

    number: int
    body: bytes
    genuine: bool = True
    deliveries: int = 0


@dataclass
class Topic:
    """A topic with one push subscription.

    `use` is what the function does with a decoded event; `on_acknowledged` is told of every message that was
    acknowledged: the message, the virtual time at which its delivery began, and how wrong its clock was.
    `on_delivery` acts out a fault that is not the delivery's own, and says whether it changed anything.
    """

    world: World
    name: str
    site: Site
    use: Callable[[CloudEvent], object]
    on_acknowledged: Callable[[Message, float, float], None]
    on_delivery: Callable[[Fault], bool]
    _published: int = 0

    def publish(
        self, data: bytes, attributes: Mapping[str, str], *, genuine: bool = True, dated: bool = True
    ) -> Message:
        """Put a message into the topic; `dated`: it says when, as every one does that Pub/Sub made itself."""
        world = self.world
        self._published += 1
        message: dict[str, object] = {"messageId": str(self._published)}
        if dated:
            message["publishTime"] = (EPOCH + timedelta(seconds=world.time)).isoformat()
        if data:  # Pub/Sub leaves out what is empty
            message["data"] = base64.b64encode(data).decode()
        if attributes:
            message["attributes"] = attributes
        made = Message(
            self._published, json.dumps({"message": message, "subscription": "s"}).encode(), genuine
        )
        self._send(made, world.rng.random() * 0.05)
        return made

    def _send(self, message: Message, delay: float) -> None:
        self.world.at(delay, lambda: self._deliver(message))

    def _deliver(self, message: Message) -> None:
        world = self.world
        skew = 0.0
        fault = world.plan.draw(self.site)
        if fault is not None:
            if world.trace is not None:
                world.note(f"{self.name} {message.number} {fault}")
            if fault is Fault.SKEWED:
                skew = (world.rng.random() - 0.5) * 2 * SKEW
            elif not self._act_out(fault, message):
                return
        message.deliveries += 1
        began = world.time
        world.spawn(
            f"{self.name} {message.number}",
            lambda: self._handle(message, began, skew),
            ended=lambda error: self._ended(message, error),
            skew=skew,
        )

    def _act_out(self, fault: Fault, message: Message) -> bool:
        """Do to a delivery what was drawn, and say whether it takes place now."""
        chance = self.world.rng.random
        match fault:
            case Fault.DROPPED:
                return False
            case Fault.DELAYED:
                longest = _LONGEST_DELAY if chance() < _SHARE_LONG else _USUAL_DELAY
                self._send(message, chance() * longest)
                return False
            case Fault.DOUBLED:
                self._send(message, chance() * 3)
            case _:
                if not self.on_delivery(fault):
                    self.world.plan.void(self.site, fault)
        return True

    def _handle(self, message: Message, began: float, skew: float) -> None:
        """What the function does, and what Pub/Sub makes of its answer."""
        world = self.world
        refusal = receive(_HEADERS, message.body, self.use)
        fault = world.cross(Site.ACKNOWLEDGE)
        if world.trace is not None:
            world.note(f"answers {refusal.message if refusal else 'done'}")
        if refusal is not None:
            if fault is not None:
                world.plan.void(Site.ACKNOWLEDGE, fault)
            self._again(message, malformed=isinstance(refusal, MalformedEvent))
            return
        self.on_acknowledged(message, began, skew)
        if fault is Fault.ACK_LOST:
            self._send(message, 1 + world.rng.random() * 10)

    def _ended(self, message: Message, error: BaseException | None) -> None:
        if isinstance(error, Killed):
            self._again(message)
        elif error is not None:
            raise Violation(f"{self.name}: answered 500: {type(error).__name__}: {error}") from error

    def _again(self, message: Message, *, malformed: bool = False) -> None:
        if message.deliveries >= _MOST_DELIVERIES:
            if message.genuine and malformed:
                raise Violation(f"{self.name}: a genuine message was refused as malformed")
            return
        backoff = min(_LONGEST_BACKOFF, 2.0**message.deliveries)
        self._send(message, backoff * (0.5 + self.world.rng.random() / 2))
