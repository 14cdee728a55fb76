"use strict";
// A click on a heading sorts by its column, the best value first; another click reverses the order.
for (const button of document.querySelectorAll("#board thead button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const column = heading.cellIndex;
    const first = heading.dataset.first;
    const other = first === "ascending" ? "descending" : "ascending";
    const order = heading.getAttribute("aria-sort") === first ? other : first;
    for (const each of heading.parentElement.cells) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const body = document.querySelector("#board tbody");
    const sign = order === "ascending" ? 1 : -1;
    const compare = (one, another) => {
      const [left, right] = [one, another].map(row => row.cells[column]);
      if (!("value" in left.dataset)) return sign * left.textContent.localeCompare(right.textContent);
      const [low, high] = [left, right].map(cell => cell.dataset.value);
      // Rows without a value come last in both orders.
      if (low === "" || high === "") return (low === "") - (high === "");
      return sign * (Number(low) - Number(high));
    };
    body.append(...[...body.rows].sort(compare));
  });
}
