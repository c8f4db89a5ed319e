"""Networks that people bring as they are: read and changed at one layer, the network itself untouched."""
