// Light or dark: the reader's choice goes into a cookie, so that the server writes it into the next page.
const YEAR_S = 365 * 24 * 3600;

const present = () =>
  document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

export function themeToggle() {
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-theme-toggle]")) return;
    const theme = present() === "dark" ? "light" : "dark";
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.documentElement.dataset.theme = theme;
    document.cookie = `tawtin_theme=${theme}; path=/; SameSite=Lax; max-age=${YEAR_S}${secure}`;
    document.dispatchEvent(new CustomEvent("tawtin:theme"));
  });
}
