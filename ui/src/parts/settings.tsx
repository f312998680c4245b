// What a person sets in this browser, and the way out.
import { signOut } from "../api";
import { notifications, toggleNotifications } from "../notify";
import { nextTheme, theme } from "../theme";
import { Icon } from "./icons";

export function Settings() {
  return (
    <>
      <button type="button" class="plain" onClick={nextTheme} aria-label={`Colours: ${theme.value}. Change`} title={`Colours: ${theme.value}`}>
        <Icon name="theme" /> <span>{theme.value}</span>
      </button>
      {notifications.value !== undefined && (
        <button type="button" class="plain" aria-pressed={notifications.value} title="Notify me of questions" onClick={() => void toggleNotifications()}>
          <Icon name="bell" /> <span>{notifications.value ? "notifies" : "notify me"}</span>
        </button>
      )}
      <button type="button" class="plain" onClick={() => signOut()} aria-label="Sign out" title="Sign out">
        <Icon name="out" /> <span>Sign out</span>
      </button>
    </>
  );
}
