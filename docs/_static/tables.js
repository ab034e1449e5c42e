// A table that does not fit the width of its page is shown with each row as a block, its cells below the head of their
// columns: see "stacked" in custom.css.
document.addEventListener("DOMContentLoaded", () => {
  const tables = [...document.querySelectorAll(".bd-article table.table")].filter((t) => !t.closest(".output_subarea"));
  for (const table of tables) {
    const heads = [...table.querySelectorAll("thead th")].map((th) => th.textContent.trim());
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, i) => {
        const text = cell.textContent.trim();
        if (heads[i]) cell.dataset.head = heads[i];
        cell.classList.toggle("is-empty", !text);
        cell.classList.toggle("is-text", text.length > 40);
        cell.classList.toggle("is-word", /^\S{1,12}$/.test(text)); // such as 1.1e-13
      });
    }
  }
  const fit = () => {
    for (const table of tables) table.classList.remove("stacked");
    for (const table of tables) {
      if (table.scrollWidth > table.parentElement.clientWidth + 1) table.classList.add("stacked");
    }
  };
  fit();
  addEventListener("resize", fit);
});
