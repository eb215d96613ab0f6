"""Methods whose density of errors is a flow's: what they share is that the flow is measured before it is used."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from knuckle.methods.base import Method


class FlowMethod(Method):
    """A method that decodes with the moments of its flows.

    The moments follow from the weights and are not saved with them; they are brought up to date when the method is
    put into evaluation mode and when weights are loaded.
    """

    @abstractmethod
    def measure_flow(self) -> None:
        """Bring the buffers that hold the flows' moments up to date.

        They are computed in float64 on the CPU, so that equal weights give equal numbers on every device.
        """

    def train(self, mode: bool = True) -> Self:
        """Into training mode, or into evaluation mode with the flows measured."""
        super().train(mode)
        if not mode:
            self.measure_flow()
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As any module's; the flows are measured afterwards."""
        keys = super().load_state_dict(state_dict, strict, assign)
        self.measure_flow()
        return keys
