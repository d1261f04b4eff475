"""KServe model servers, thin over `blueprints`: one package a blueprint, and the kit that they share."""
