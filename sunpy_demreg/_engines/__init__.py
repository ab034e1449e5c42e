"""
Engines: the inversion fused for speed.

`sunpy_demreg._engines._text` says what happens to a pixel, on lane values; a machine gives them a meaning, and so
turns the text into code for its kind of processor. It offers:

``intensity(i)``, ``sigma(i)``, ``scalar(name)``, ``response(i, j)``, ``response_pair(p, j)``,
``shared_gram(p)``, ``dlogt(j)``, ``sample(s)``
    what is given, for channel i, bin j, pair of channels p, sample s;
``get(name, j)``, ``put(name, j, value)``, ``sum_of_inner_neighbors(name, j)``, ``sampled(name, s)``
    storage of one value per bin ("scratch", "weight"), and two ways to read several of them;
``put_output(name, j, value)``
    the answer;
``over_bins(body, reductions)``, ``over_samples(body, reductions)``
    ``body(j)`` gives a value for each of the reductions: "sum", "minimum" or "maximum";
``each_bin(body)``
    ``body(j)`` for one bin after the other, nothing to reduce;
``iterate(body, state, limit)``
    ``body(*state)`` gives the lanes still pending, and the next state; until none is pending;
``where``, ``maximum``, ``minimum``, ``abs``, ``sqrt``, ``exp``, ``log``
    what operators do not do.
"""
