// The style sheet that this page came with is fetched into the browser's cache, so that the pages to come name it only.
const YEAR_S = 365 * 24 * 3600;

export function keepSheet() {
  const address = document.querySelector("style[data-sheet]")?.dataset.sheet;
  if (!address) return;
  addEventListener("load", async () => {
    try {
      const answer = await fetch(address, { priority: "low" });
      await answer.arrayBuffer();
      if (answer.ok) remember(address.split("/").at(-2));
    } catch {
      // the next page comes with it as well
    }
  });
}

function remember(digest) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `tawtin_sheet=${digest}; path=/console; SameSite=Lax; max-age=${YEAR_S}${secure}`;
}
