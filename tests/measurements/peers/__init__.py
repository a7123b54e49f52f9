"""The same checkpoint behind what people would use instead, measured in turn with Doppelkopf."""
