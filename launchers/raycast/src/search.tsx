// Raycast's command: a grid of photos that follows the typing.

import { Action, ActionPanel, Grid, getPreferenceValues, showToast, Toast } from "@raycast/api";
import { useEffect, useState } from "react";

import { search, type Photo } from "./photos.js";

export default function Command() {
  const { command } = getPreferenceValues<{ command: string }>();
  const [query, setQuery] = useState("");
  const [found, setFound] = useState<Photo[]>([]);
  const [isLoading, setIsLoading] = useState(false);

  useEffect(() => {
    const aborter = new AbortController(); // a newer query ends this one
    setIsLoading(true);
    search(command, query, aborter.signal)
      .then(setFound)
      .catch((error: Error) => {
        if (error.name === "AbortError") return;
        void showToast({ style: Toast.Style.Failure, title: "photosearch", message: error.message });
      })
      .finally(() => aborter.signal.aborted || setIsLoading(false));
    return () => aborter.abort();
  }, [command, query]);

  return (
    <Grid
      columns={5}
      fit={Grid.Fit.Fill}
      isLoading={isLoading}
      onSearchTextChange={setQuery}
      searchBarPlaceholder="Search your photos"
      throttle
    >
      {found.map((photo) => (
        <Grid.Item
          key={photo.path}
          content={{ source: photo.path }}
          title={photo.name}
          subtitle={photo.about}
          quickLook={{ path: photo.path, name: photo.name }}
          actions={
            <ActionPanel>
              <Action.Open title="Open" target={photo.path} />
              <Action.ShowInFinder path={photo.path} />
              <Action.ToggleQuickLook />
              <Action.CopyToClipboard title="Copy File" content={{ file: photo.path }} />
            </ActionPanel>
          }
        />
      ))}
    </Grid>
  );
}
