// Light or dark: as the system says, until the person chooses.
import { signal } from "@preact/signals";

type Theme = "auto" | "light" | "dark";
const KEY = "pilothouse.theme";

export const theme = signal<Theme>((localStorage.getItem(KEY) as Theme | null) ?? "auto");

theme.subscribe((value) => {
  localStorage.setItem(KEY, value);
  document.documentElement.dataset.theme = value;
});

export function nextTheme(): void {
  theme.value = theme.value === "auto" ? "light" : theme.value === "light" ? "dark" : "auto";
}
